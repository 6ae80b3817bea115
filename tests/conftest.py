"""What all tests share: offline, on the CPU, with caches in temporary folders."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}  # before anything reads them

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # without a GPU, triton's kernels run in its interpreter; it asks once

from crosscoder.data import Harvest, Splits
from crosscoder.data.planted import Planted
from crosscoder.lm import Pair, load_pair

hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """The tensors here are so small that threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from, or left in, the cache of whoever runs the tests (but see `e2e/test_gemma.py`)."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSCODER_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Entry points choose a matmul precision and seed the generators: not for the tests that follow."""
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
    """A small world of known features."""
    return Planted(width=16, shared=12, base_only=2, chat_only=4, active=2.0)


@pytest.fixture(scope="session")
def planted_splits(planted: Planted, cache: Path, tiny_pair: Pair) -> Splits:
    """Its stores: 4,000 tokens to train on, 1,000 held out."""
    return planted.stores(
        tiny_pair, [], None, Harvest(cache / "planted"), {"train": 4000, "validation": 1000, "heldout": 1000}
    )


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without type checks, as for a user: what they would refuse first must get the error that the user gets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
