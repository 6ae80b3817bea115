"""Files from elsewhere are data: nothing in them runs or leads out of a folder. Keys are secret."""

import json
import os  # noqa: F401 (a query would find it here)
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.core.sparse import Index, SparseCode
from crosscoder.data import Store
from crosscoder.errors import UserError
from crosscoder.io.checksum import compute_sha256
from crosscoder.lm import Pair
from crosscoder.training import read_settings
from crosscoder.training.checkpoints import find_checkpoint
from tests.helpers.small import crosscoder_of, random_acts, store_of
from tests.unit.formats.spoiling import Bomb

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]


# --- no code is loaded from files of any content ---

Loader = Callable[[], object]


def saved_crosscoder(folder: Path) -> tuple[list[Path], Loader]:
    crosscoder_of(BatchTopK(3)).save_pretrained(folder)
    return [
        folder / "model.safetensors",
        folder / "config.json",
    ], lambda: Crosscoder.from_pretrained(folder)


def checkpoint(folder: Path) -> tuple[list[Path], Loader]:
    folder.mkdir()
    torch.save({"state_dict": {"W_enc": torch.ones(4, 4)}, "global_step": 3}, folder / "last.ckpt")
    return [folder / "last.ckpt"], lambda: find_checkpoint(folder)


def shard(folder: Path) -> tuple[list[Path], Loader]:
    store_of(folder, {"base": random_acts(6, 4)}, [6])
    path = folder / "00000.base.safetensors"

    def load() -> object:
        store = Store(folder)
        store.meta["sources"]["base"]["checksums"] = [
            compute_sha256(path)
        ]  # who makes a store makes its checksums, too
        return store.acts(0, ["base"])

    return [path], load


def code(folder: Path) -> tuple[list[Path], Loader]:
    folder.mkdir()
    index, path = Index.from_mask(random_acts(5, 12) > 1), folder / "code.safetensors"
    SparseCode(index, torch.ones(len(index))).save(path)
    return [path], lambda: SparseCode.load(path)


def table(folder: Path) -> tuple[list[Path], Loader]:
    path = LatentTable.from_columns(
        {"density": [0.1, 0.2], "verdict": ["shared", "shared"]}, {}
    ).save(folder / "latents.parquet")
    return [path], lambda: LatentTable.load(path)


KINDS = [saved_crosscoder, checkpoint, shard, code, table]


def refused(load: Loader) -> bool:
    """Whether it was, in one line; else it was read."""
    said = None
    try:
        load()
    except UserError as error:
        said = str(error)
    assert "\n" not in (said or "")
    return said is not None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_pickle_is_run(kind, tmp_path):
    sentinel = tmp_path / "sentinel"
    torch.save({"bomb": Bomb(sentinel)}, tmp_path / "zipped.pt")
    for content in (pickle.dumps(Bomb(sentinel)), (tmp_path / "zipped.pt").read_bytes()):
        files, load = kind(tmp_path / "it")
        for file in files:
            sound = file.read_bytes()
            file.write_bytes(content)
            assert refused(load)
            assert not sentinel.exists()
            file.write_bytes(sound)
        shutil.rmtree(tmp_path / "it")


def spoilt(content: bytes, draw: random.Random) -> bytes:
    """Change, cut or insert some bytes, drop the rest, or return random bytes."""
    at, some = draw.randrange(len(content)), draw.randbytes(draw.randint(1, 20))
    ways = [
        content[:at],
        content[:at] + some + content[at:],
        content[:at] + content[at + len(some) :],
        some,
    ]
    return draw.choice([*ways, content[:at] + some + content[at + len(some) :]])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_spoilt_files_are_read_or_refused_in_one_line(kind, tmp_path):
    draw, outcomes = random.Random(0), set()
    files, load = kind(tmp_path / "it")
    assert not refused(load)
    for file in files:
        sound = file.read_bytes()
        for _ in range(60):
            file.write_bytes(spoilt(sound, draw))
            outcomes.add(refused(load))
        file.write_bytes(sound)
    assert True in outcomes


@pytest.mark.parametrize(
    "changed",
    [{"rows": [0, 9]}, {"rows": [1, 0]}, {"latents": [-1, 2]}, {"latents": [2]}, {"values": [1.0]}],
    ids=str,
)
def test_a_code_that_none_would_have_is_refused(changed, tmp_path):
    path, entries = (
        tmp_path / "code.safetensors",
        {"rows": [0, 1], "latents": [3, 2], "values": [1.0, 2.0]},
    )

    def is_refused() -> bool:
        tensors = {name: torch.tensor(entry) for name, entry in entries.items()}
        save_file(tensors, path, {"batch": "2", "n_latents": "5"})
        return refused(lambda: SparseCode.load(path))

    assert not is_refused()
    entries |= changed
    assert is_refused()


META = [
    "[]",
    "null",
    "[" * 100_000,
    {"sources": 5},
    {"counts": None},
    {"contrast": 5},
    {"dtype": "nn"},
    {"dtype": None},
]


@pytest.mark.parametrize("meta", META, ids=lambda meta: str(meta)[:20])
def test_a_store_of_nonsense_is_refused_in_one_line(meta, tmp_path):
    store = store_of(tmp_path, {"base": random_acts(6, 4)}, [6])
    (tmp_path / "meta.json").write_text(
        meta if isinstance(meta, str) else json.dumps(store.meta | meta)
    )
    assert refused(lambda: Store(tmp_path))


def test_figures_of_nonsense_beside_a_crosscoder_are_refused_in_one_line(tmp_path):
    crosscoder_of(ReLU()).save_pretrained(tmp_path / "crosscoder")
    (tmp_path / "metrics.json").write_text("{")
    assert refused(lambda: Crosscoder.from_pretrained(tmp_path))


@pytest.fixture
def sentinel(tmp_path) -> Iterator[Path]:
    """Return the path of a file that only forbidden code would make."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


def test_no_text_of_a_table_is_run_as_a_query(sentinel, tmp_path):
    first = f"x' or @os.system('touch {sentinel}') == 0 or verdict == '"
    frame = {
        "verdict": ["shared"],
        "difference_energy": [0.5],
        "delta_norm": [0.4],
        "dead": [False],
    }
    LatentTable.from_columns(frame, {"contrast": [first, "base"]}).save(
        tmp_path / "latents.parquet"
    )
    loaded = LatentTable.load(tmp_path / "latents.parquet")
    assert len(loaded.find_chat_specific_features()) == 0
    with pytest.raises(UserError, match="cannot query"):
        loaded.query(f"verdict == '{first}-specific'")
    pd.DataFrame(frame).query(f"verdict == '{first}-specific'")  # which pandas alone would run
    assert sentinel.exists()
    sentinel.unlink()


# --- no code from configurations ---


def edited(folder: Path, change: Callable[[dict], None]) -> Path:
    """Copy a saved crosscoder with another config.json."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "activation",
    [
        {"name": "os"},
        {"name": "os.system", "command": "true"},
        {"name": "../losses/l1"},
        {"name": "base"},
        {"name": "relu", "_target_": "os.system"},
        {"name": "topk", "k": {"_target_": "os.system"}},
        {"name": ["relu"]},
        {"_target_": "os.system"},
        "relu",
    ],
    ids=str,
)
def test_a_crosscoder_names_activations_of_ours_only(activation, tmp_path):
    crosscoder_of(ReLU()).save_pretrained(tmp_path)
    assert refused(
        lambda: Crosscoder.from_pretrained(
            edited(tmp_path, lambda config: config.update(activation=activation))
        )
    )


SETTINGS = [
    "loss.x._target_=os.system",
    "+loss.x={_target_:os.system}",
    "+trainer.callbacks=[{_target_:os.system}]",
    "optimizer._target_=os.system",
    "optimizer._args_=[x]",
    "~optimizer",
    "seed=${oc.env:HOME}",
    "experiment=/tmp/x",
    "experiment=../x",
    "trainer.default_root_dir=/tmp/x",
    "k=`touch x`",
    "k=3\nloss.x._target_=os.system",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_a_crosscoder_are_plain_or_refused(setting):
    with pytest.raises(UserError, match="not a plain setting"):
        read_settings({"settings": ["k=3", setting]})


@pytest.mark.parametrize("settings", ["k=3", 5, {"k": 3}, [["k=3"]], [None]], ids=str)
def test_settings_are_a_list_of_text(settings):
    with pytest.raises(UserError, match="settings"):
        read_settings({"settings": settings})


def test_settings_of_what_it_was_trained_on_are_left_out():
    given = [
        "hydra.callbacks.x._target_=os.system",
        "harvest.root=/etc",
        "+x={_target_:os.system}",
        "run=/etc",
        "k=3",
    ]
    settings = [*given, "loss=[squared,l1]", "trainer.precision=32-true", "lr=1e-3"]
    assert read_settings({"settings": settings, "exclude": ["special", "outlier"]}) == [
        "k=3",
        "loss=[squared,l1]",
        "trainer.precision=32-true",
        "lr=1e-3",
    ]


@pytest.mark.parametrize(
    "key", ["devices=4", "num_nodes=2", "strategy=ddp", "accelerator=cuda", "max_time=1"]
)
def test_settings_that_start_processes_are_left_out(key):
    given = {"settings": [f"trainer.{key}", "k=3"], "exclude": ["special"]}
    assert read_settings(given) == ["k=3"]


@pytest.mark.parametrize(
    "pair",
    [
        {"lms": {}, "layer": 0, "_target_": "os.system"},
        {"lms": {"base": {"_target_": "os.system"}}, "layer": 0},
        {"lms": ["base"], "layer": 0},
        {"lms": {"base": "x"}, "layer": 0},
        {"lms": {"base": {"seed": 0}}, "layer": 0, "dtype": "nn"},
        {"lms": {"base": {"seed": 0}}, "layer": 0, "dtype": "hub"},
        {"lms": {"base": {"seed": 0}}, "layer": 0, "contrast": 5},
        ["lms"],
    ],
    ids=str,
)
def test_what_is_said_of_the_language_models_is_a_pair_or_refused(pair):
    assert refused(lambda: Pair.from_spec(pair))


def test_a_language_model_s_code_is_not_asked_for(tmp_path, sentinel):
    from crosscoder.lm import LM

    config = {
        "model_type": "theirs",
        "auto_map": dict.fromkeys(["AutoConfig", "AutoModelForCausalLM"], "theirs.Theirs"),
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "theirs.py").write_text(f"open({str(sentinel)!r}, 'w')")
    for load in (
        LM(str(tmp_path)).load,
        LM(str(tmp_path)).build_skeleton,
        LM(str(tmp_path)).load_tokenizer,
    ):
        assert refused(load)


# --- paths stay inside ---

NAMES = [
    "../x",
    "../../x",
    "a/b",
    "/etc/x",
    "a\\b",
    "..",
    ".hidden",
    "",
    " ",
    "a b",
    "x\0",
    "x\n",
    "'or'",
    "-x",
    "a:b",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_source_is_named_like_a_path(name, tmp_path):
    with pytest.raises(UserError, match="no source can be named") as error:
        Sources((Source(name, 4),))
    assert "\n" not in str(error.value)
    crosscoder_of(ReLU()).save_pretrained(tmp_path / "crosscoder")
    assert refused(
        lambda: Crosscoder.from_pretrained(
            edited(
                tmp_path / "crosscoder",
                lambda config: config["sources"]["items"][0].update(name=name),
            )
        )
    )
    store = store_of(tmp_path / "store", {"base": random_acts(6, 4)}, [6])
    store.meta["sources"][name] = store.meta["sources"].pop("base")
    (store.folder / "meta.json").write_text(json.dumps(store.meta))
    assert refused(lambda: Store(store.folder).sources)


@pytest.mark.parametrize(
    "name", ["base", "chat-base", "base.resid_post.9", "model0", "gemma-3-1b+it", "x_y.z", "3"]
)
def test_names_that_are_in_use_are_names(name):
    assert Sources((Source(name, 4),)).names == (name,)
