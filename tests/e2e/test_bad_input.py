"""A wrong request ends in one line with the cause and the place, and an exit code that is not 0."""

import json
import os
import shutil

import pytest
import torch

from crosscoder.data import Store
from tests.e2e.commands import SMALL, Outcome, ended, here, start

# a user has no type checks: what they would refuse first must get the error that the user gets
pytestmark = pytest.mark.usefixtures("unchecked")


def refused(outcome: Outcome, *words: str) -> None:
    """One line on stderr with these words, and an exit code that is not 0."""
    assert outcome.code == 1, (outcome.code, outcome.out, outcome.err)
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Write a file of a few thousand tokens."""
    file = tmp_path_factory.mktemp("text") / "lines.jsonl"
    file.write_text(
        "".join(json.dumps({"text": f"{i} squared is {i * i}. " * 8}) + "\n" for i in range(400))
    )
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Finish a run on planted activations."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    outcome = here("train.py", "debug=smoke", *SMALL, f"hydra.run.dir={folder}")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def stores(run, tmp_path):
    """Copy the run's stores, to be damaged: (train, held-out)."""
    made_with = json.loads((run / "crosscoder" / "config.json").read_text())["provenance"]
    return [shutil.copytree(made_with[split], tmp_path / split) for split in ("train", "heldout")]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (["n_latent=64"], ["n_latent"]),
        (["activation.kk=3"], ["activation.kk"]),
        (["activation=topkk"], ["activation", "topkk", "did you mean topk?"]),
        (["nonsense=1"], ["nonsense"]),
        (["n_latents=many"], ["n_latents", "many"]),
        (["n_latents=0"], ["n_latents", "0"]),
        (["k=0"], ["k", "0"]),
        (["activation=topk", "k=-1"], ["k", "-1"]),
        (["batch_size=1_000_000"], ["batch_size=1,000,000"]),
        (["sources=[base,chatt]"], ["chatt", "base, chat"]),
        (["exclude=[nonsense]"], ["nonsense", "special"]),
        (["loss.reconstruction.kind=cubed"], ["cubed"]),
        (["scale.by=eye"], ["eye"]),
        (
            ["data=store", "data.train=/no/such/folder", "data.heldout=/no/such/folder"],
            ["/no/such/folder"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_setting_that_makes_no_sense(request_, words, tmp_path):
    refused(
        here("train.py", "debug=smoke", *SMALL, f"hydra.run.dir={tmp_path / 'run'}", *request_),
        *words,
    )


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (["layer=7"], ["layer 7", "layers 0 to 1"]),
        (["hookpoints=[resid_past.1]"], ["resid_past.1", "resid_post"]),
        (
            ["models=gemma3_270m", "models.lms.base.weights=/no/such/model"],
            ["no model at '/no/such/model'"],
        ),
        (
            ["models=gemma3_270m", "models.lms.base.weights=nobody/no-such-model"],
            ["nobody/no-such-model"],
        ),
        (
            ["models=gemma3_270m", "models.lms.base.weights=pinned:no-such-name"],
            ["no-such-name", "gemma-3-270m"],
        ),
        (
            ["models.lms.chat.adapter=/no/such/adapter"],
            ["models.lms.chat.adapter", "a setting of models=gemma3_270m"],
        ),
        (["n_tokens=100_000_000"], ["100,000,000", "train"]),
        (["data.corpora.0.paths=[/no/such/file.txt]"], ["/no/such/file.txt"]),
        (["data.corpora.0.column=words"], ["words", "text"]),
        (["models=gemma9"], ["gemma9", "gemma3_270m"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_models_and_text_that_are_not_there(request_, words, text, tmp_path):
    data = ["models=tiny", "data=files", f"data.corpora.0.paths=[{text}]", "data.seq_len=64"]
    refused(here("train.py", *data, *SMALL, f"hydra.run.dir={tmp_path / 'run'}", *request_), *words)


def on_stores(stores, tmp_path, *more: str) -> Outcome:
    """Train on these stores."""
    data = ["data=store", f"data.train={stores[0]}", f"data.heldout={stores[1]}"]
    return here(
        "train.py", "models=tiny", *data, *SMALL, f"hydra.run.dir={tmp_path / 'run'}", *more
    )


def shard_of(store, source="chat"):
    """Return the path of a source's first shard."""
    return store / f"00000.{source}.safetensors"


@pytest.mark.faults
def test_a_truncated_shard(stores, tmp_path):
    file = shard_of(stores[0])
    os.truncate(file, file.stat().st_size // 2)
    refused(on_stores(stores, tmp_path), file.name)


@pytest.mark.faults
def test_a_flipped_bit(stores, tmp_path):
    file = shard_of(stores[0])
    content = bytearray(file.read_bytes())
    content[-7] ^= 0x40
    file.write_bytes(content)
    refused(on_stores(stores, tmp_path), file.name, "checksum")


@pytest.mark.faults
def test_a_missing_shard(stores, tmp_path):
    shard_of(stores[0]).unlink()
    refused(on_stores(stores, tmp_path), shard_of(stores[0]).name)


@pytest.mark.faults
def test_a_shard_of_the_held_out_store(stores, tmp_path):
    shard_of(stores[1]).unlink()
    refused(on_stores(stores, tmp_path), shard_of(stores[1]).name)


@pytest.mark.faults
def test_nan_in_a_foreign_store(stores, tmp_path):
    store = Store(stores[0])
    acts = store.acts(0, ["chat"])
    acts[17, 3] = torch.nan
    store.write(0, "chat", {"acts": acts})
    refused(on_stores(stores, tmp_path), "chat", "not finite", str(stores[0]))


def test_a_store_that_does_not_fit_the_crosscoder(run, tmp_path, planted_splits):
    widths = Store(planted_splits.heldout.folder).sources.widths
    outcome = here(
        "evaluate.py",
        f"crosscoder={run}",
        f"store={planted_splits.heldout.folder}",
        "eval=reconstruction",
    )
    refused(outcome, str(widths[0]), "64")


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["config", "weights", "none_there"])
def test_a_crosscoder_that_is_not_whole(run, tmp_path, damage):
    folder = shutil.copytree(run / "crosscoder", tmp_path / "crosscoder")
    if damage == "config":
        (folder / "config.json").write_text("{")
    elif damage == "weights":
        os.truncate(folder / "model.safetensors", 1000)
    else:
        shutil.rmtree(folder)
    refused(here("evaluate.py", f"crosscoder={folder}"), str(folder))


def test_splicing_needs_language_models(run):
    refused(here("evaluate.py", f"crosscoder={run}", "eval=splice"), "splice", "language models")


def test_nothing_to_evaluate():
    refused(here("evaluate.py"), "crosscoder")


def test_it_is_the_same_in_a_process_of_its_own(tmp_path):
    outcome = ended(start("train.py", "debug=smoke", "n_latent=64", folder=tmp_path))
    refused(outcome, "n_latent")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("name", ["n_tokens", "n_validation", "n_heldout"])
def test_a_store_of_no_tokens_is_not_left_in_the_cache(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    refused(
        here("train.py", "debug=smoke", *SMALL, f"hydra.run.dir={tmp_path / 'run'}", f"{name}=0"),
        "0",
    )
    assert not list((tmp_path / "cache").rglob("meta.json"))
