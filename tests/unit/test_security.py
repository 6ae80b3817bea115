"""What comes from elsewhere is data: nothing in it is run, nothing in it leads out of its folder, and keys stay secret."""

import ast
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
import yaml
from safetensors.torch import save_file

from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.activations.relu import ReLU
from crosscoder.data import Store
from crosscoder.diff.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.lm.pinned import sha256
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources
from crosscoder.sparse import SparseCode, index_of
from crosscoder.training import settings_of
from crosscoder.training.callbacks import good_checkpoint
from tests.e2e.commands import ROOT, SMALL, ended, here, start
from tests.small import crosscoder_of, random_acts, store_of
from tests.unit.formats.spoiling import Bomb

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]


# --- no code is loaded: what the source says ---

# modules whose files run what they hold, functions that do, and what makes a function safe
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FUNCTIONS = {"eval", "exec", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pandas.read_pickle"}
SAFE_WITH = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
METHODS = {"load_from_checkpoint", "to_pickle"}


def unsafe(source: str) -> list[str]:
    """Line by line, what would run code that a file holds."""
    tree, named, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                whole = f"{module}.{alias.name}" if module else alias.name
                named[alias.asname or alias.name] = whole
                if MODULES & {whole.split(".")[0]}:
                    found.append((node.lineno, whole))

    def full_name(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{full_name(node.value)}.{node.attr}"
        return named.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, given = full_name(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
            needed = SAFE_WITH.get(name, ("weights_only", True) if "ckpt_path" in given else None)
            if name in FUNCTIONS or name.rpartition(".")[2] in METHODS:
                found.append((node.lineno, name))
            if needed and getattr(given.get(needed[0]), "value", None) is not needed[1]:
                found.append((node.lineno, f"{name} without {needed[0]}={needed[1]}"))
        pairs = [(node.arg, node.value)] if isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Dict):
            pairs = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        if any(key == "trust_remote_code" and getattr(value, "value", None) is not False for key, value in pairs):
            found.append((pairs[0][1].lineno, "trust_remote_code"))
    return [f"line {line}: {what}" for line, what in sorted(found)]


SOURCES = sorted([*(ROOT / "crosscoder").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"])


def test_no_source_loads_code():
    assert len(SOURCES) > 100
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "def f():\n    import dill as d",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load\nload(path, weights_only=chosen)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import pandas as pd\npd.read_pickle(path)",
        "eval(text)",
        "exec(text)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "options = {'trust_remote_code': ask}",
        "trainer.fit(module, ckpt_path=path)",
        "Module.load_from_checkpoint(path)",
    ],
)
def test_a_source_that_would_load_code_is_found(planted):
    assert len(unsafe(planted)) == 1


def test_safe_ways_are_not_found():
    fine = "import torch\nimport yaml\nmodel.eval()\nyaml.safe_load(text)\ntorch.load(path, weights_only=True)"
    assert unsafe(f"{fine}\nf(trust_remote_code=False)\ntrainer.fit(module, ckpt_path=p, weights_only=True)") == []


# --- no code is loaded: what files of any content do ---

Loader = Callable[[], object]


def saved_crosscoder(folder: Path) -> tuple[list[Path], Loader]:
    crosscoder_of(BatchTopK(3)).save_pretrained(folder)
    return [folder / "model.safetensors", folder / "config.json"], lambda: Crosscoder.from_pretrained(folder)


def checkpoint(folder: Path) -> tuple[list[Path], Loader]:
    folder.mkdir()
    torch.save({"state_dict": {"W_enc": torch.ones(4, 4)}, "global_step": 3}, folder / "last.ckpt")
    return [folder / "last.ckpt"], lambda: good_checkpoint(folder)


def shard(folder: Path) -> tuple[list[Path], Loader]:
    store_of(folder, {"base": random_acts(6, 4)}, [6])
    path = folder / "00000.base.safetensors"

    def load() -> object:
        store = Store(folder)
        store.meta["sources"]["base"]["checksums"] = [sha256(path)]  # who makes a store makes its checksums, too
        return store.acts(0, ["base"])

    return [path], load


def code(folder: Path) -> tuple[list[Path], Loader]:
    folder.mkdir()
    index, path = index_of(random_acts(5, 12) > 1), folder / "code.safetensors"
    SparseCode(index, torch.ones(len(index))).save(path)
    return [path], lambda: SparseCode.load(path)


def table(folder: Path) -> tuple[list[Path], Loader]:
    path = LatentTable.of({"density": [0.1, 0.2], "verdict": ["shared", "shared"]}, {}).save(folder / "latents.parquet")
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
    """Some bytes changed, cut out, put in, or the rest missing; or nothing but chance."""
    at, some = draw.randrange(len(content)), draw.randbytes(draw.randint(1, 20))
    ways = [content[:at], content[:at] + some + content[at:], content[:at] + content[at + len(some) :], some]
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
    "changed", [{"rows": [0, 9]}, {"rows": [1, 0]}, {"latents": [-1, 2]}, {"latents": [2]}, {"values": [1.0]}], ids=str
)
def test_a_code_that_none_would_have_is_refused(changed, tmp_path):
    path, entries = tmp_path / "code.safetensors", {"rows": [0, 1], "latents": [3, 2], "values": [1.0, 2.0]}

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
    (tmp_path / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(store.meta | meta))
    assert refused(lambda: Store(tmp_path))


def test_figures_of_nonsense_beside_a_crosscoder_are_refused_in_one_line(tmp_path):
    crosscoder_of(ReLU()).save_pretrained(tmp_path / "crosscoder")
    (tmp_path / "metrics.json").write_text("{")
    assert refused(lambda: Crosscoder.from_pretrained(tmp_path))


@pytest.fixture
def sentinel(tmp_path) -> Iterator[Path]:
    """A file that only what must not run would make."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


def test_no_text_of_a_table_is_run_as_a_query(sentinel, tmp_path):
    first = f"x' or @os.system('touch {sentinel}') == 0 or verdict == '"
    frame = {"verdict": ["shared"], "difference_energy": [0.5], "delta_norm": [0.4], "dead": [False]}
    LatentTable.of(frame, {"contrast": [first, "base"]}).save(tmp_path / "latents.parquet")
    loaded = LatentTable.load(tmp_path / "latents.parquet")
    assert len(loaded.find_chat_specific_features()) == 0
    with pytest.raises(UserError, match="cannot query"):
        loaded.query(f"verdict == '{first}-specific'")
    pd.DataFrame(frame).query(f"verdict == '{first}-specific'")  # which pandas alone would run
    assert sentinel.exists()
    sentinel.unlink()


# --- no code from configurations ---


def edited(folder: Path, change: Callable[[dict], None]) -> Path:
    """The same saved crosscoder with another config.json."""
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
        lambda: Crosscoder.from_pretrained(edited(tmp_path, lambda config: config.update(activation=activation)))
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
        settings_of({"settings": ["k=3", setting]})


@pytest.mark.parametrize("settings", ["k=3", 5, {"k": 3}, [["k=3"]], [None]], ids=str)
def test_settings_are_a_list_of_text(settings):
    with pytest.raises(UserError, match="settings"):
        settings_of({"settings": settings})


def test_settings_of_what_it_was_trained_on_are_left_out():
    given = ["hydra.callbacks.x._target_=os.system", "harvest.root=/etc", "+x={_target_:os.system}", "run=/etc", "k=3"]
    assert settings_of({"settings": [*given, "loss=[squared,l1]", "trainer.precision=32-true", "lr=1e-3"]}) == [
        "k=3",
        "loss=[squared,l1]",
        "trainer.precision=32-true",
        "lr=1e-3",
    ]


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


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on planted activations."""
    folder = tmp_path_factory.mktemp("security") / "run"
    outcome = here("train.py", "debug=smoke", *SMALL, f"run={folder}")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def theirs(run, tmp_path) -> Path:
    """A run folder as somebody else may hand it over."""
    return shutil.copytree(run, tmp_path / "theirs")


def test_a_run_s_config_is_not_instantiated(theirs, sentinel):
    bad = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(sentinel)]}}
    (theirs / "config.yaml").write_text(yaml.safe_dump({"recipe": bad, "eval": {"x": bad}, "models": bad}))
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=[reconstruction,stability]")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "setting", ["+loss.x={_target_:pathlib.Path.touch,self:SENTINEL}", "loss.x._target_=os.system"]
)
def test_a_crosscoder_s_settings_run_nothing(theirs, sentinel, setting):
    settings = [setting.replace("SENTINEL", str(sentinel))]
    edited(theirs / "crosscoder", lambda config: config["provenance"].update(settings=settings))
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=stability")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "is not a plain setting" in outcome.err


def test_a_language_model_s_code_is_not_asked_for(tmp_path, sentinel):
    from crosscoder.lm import LM

    config = {
        "model_type": "theirs",
        "auto_map": dict.fromkeys(["AutoConfig", "AutoModelForCausalLM"], "theirs.Theirs"),
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "theirs.py").write_text(f"open({str(sentinel)!r}, 'w')")
    for load in (LM(str(tmp_path)).load, LM(str(tmp_path)).skeleton, LM(str(tmp_path)).tokenizer):
        assert refused(load)


# --- paths stay inside ---

NAMES = ["../x", "../../x", "a/b", "/etc/x", "a\\b", "..", ".hidden", "", " ", "a b", "x\0", "x\n", "'or'", "-x", "a:b"]


@pytest.mark.parametrize("name", NAMES)
def test_no_source_is_named_like_a_path(name, tmp_path):
    with pytest.raises(UserError, match="no source can be named") as error:
        Sources((Source(name, 4),))
    assert "\n" not in str(error.value)
    crosscoder_of(ReLU()).save_pretrained(tmp_path / "crosscoder")
    assert refused(
        lambda: Crosscoder.from_pretrained(
            edited(tmp_path / "crosscoder", lambda config: config["sources"]["items"][0].update(name=name))
        )
    )
    store = store_of(tmp_path / "store", {"base": random_acts(6, 4)}, [6])
    store.meta["sources"][name] = store.meta["sources"].pop("base")
    (store.folder / "meta.json").write_text(json.dumps(store.meta))
    assert refused(lambda: Store(store.folder).sources)


@pytest.mark.parametrize("name", ["base", "chat-base", "base.resid_post.9", "model0", "gemma-3-1b+it", "x_y.z", "3"])
def test_names_that_are_in_use_are_names(name):
    assert Sources((Source(name, 4),)).names == (name,)


# --- secrets ---

SECRETS = {
    "HF_TOKEN": "hf_sentinelOfTheHubWhichNobodyMaySee",
    "OPENAI_API_KEY": "sk-sentinelOfTheJudgeWhichNobodyMaySee",
    "WANDB_API_KEY": "5e7717e1" * 5,
    "AWS_SECRET_ACCESS_KEY": "sentinelOfSomethingElseWhichNobodyMaySee",
}


def test_no_key_is_said_or_written(tmp_path):
    environment = SECRETS | {"HOME": str(tmp_path), "CROSSCODER_CACHE": str(tmp_path / "cache")}
    trained = ended(
        start("train.py", "debug=smoke", *SMALL[:-1], "logger=wandb", "run=run", folder=tmp_path, **environment)
    )
    assert trained.code == 0, trained.err
    evaluated = ended(
        start("evaluate.py", "crosscoder=run", "eval=[reconstruction,diff]", folder=tmp_path, **environment)
    )
    assert evaluated.code == 0, evaluated.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.html", "config.yaml"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    said = "".join(outcome.out + outcome.err for outcome in (trained, evaluated))
    for secret in SECRETS.values():
        assert secret not in said
        assert not [path for path in files if secret.encode() in path.read_bytes()]
