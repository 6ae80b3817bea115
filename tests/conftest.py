"""What all tests share: offline, on the CPU, with caches in temporary folders."""

import os
import signal

# set before anything reads them
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}
# xdist sets it in its workers; a console that is made with it ignores the width a test sets
os.environ.pop("COLUMNS", None)

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

if not torch.cuda.is_available():
    # without a GPU Triton's kernels run in its interpreter, which reads this once
    os.environ["TRITON_INTERPRET"] = "1"

from crosscoder.data import Harvest, Splits
from crosscoder.data.synthetic.planted import Planted
from crosscoder.lm import Pair, load_pair
from crosscoder.runtime import signals

hypothesis.settings.register_profile(
    "quick", max_examples=20, deadline=None, database=None, derandomize=True
)
hypothesis.settings.load_profile("quick")


# folders whose tests take long: `pytest` leaves them out, `pytest -m long` runs them
LONG_FOLDERS = ("browser", "distributed", "docs", "e2e", "recovery")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of these folders as long, except those that are marked as quick."""
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0]
        if folder in LONG_FOLDERS and not item.get_closest_marker("quick"):
            item.add_marker(pytest.mark.long)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use two workers or more for folders of tests, and none for chosen files and tests."""
    are_folders = all(Path(name).is_dir() for name in config.args)
    has_debugger = config.getoption("usepdb")
    if not are_folders or has_debugger:
        return 0
    return min(max(os.cpu_count() or 1, 2), 4)


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Use one thread: tensors are so small here that threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def heed_signals() -> None:
    """Let signals end the programs that tests start, also under nohup or in the background.

    A signal that is ignored here is ignored by every program that is started from here.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(autouse=True)
def signals_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the handlers of signals, and forget that a command in this process listened.

    A command that a test runs in its own process listens until the process ends. The next test of
    the same worker would then find another behaviour than a fresh process has.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    monkeypatch.setattr(signals, "_listener", signals._listener)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a temporary cache instead of the user's (but see `e2e/test_gemma.py`)."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSCODER_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Restore the matmul precision and the random state, which entry points change."""
    precision = torch.get_float32_matmul_precision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="session")
def tiny_pair() -> Pair:
    """Two random two-layer Gemma models, the second a drifted copy of the first."""
    return load_pair("tiny")


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Make a small world of known features."""
    return Planted(width=16, shared=12, base_only=2, chat_only=4, active=2.0)


@pytest.fixture(scope="session")
def planted_splits(planted: Planted, cache: Path, tiny_pair: Pair) -> Splits:
    """Its stores: 4,000 tokens to train on, 1,000 held out."""
    return planted.make_splits(
        tiny_pair,
        [],
        None,
        Harvest(cache / "planted"),
        {"train": 4000, "validation": 1000, "heldout": 1000},
    )


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch off type checks, so that a test gets the error that a user gets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
