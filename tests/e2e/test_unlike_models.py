"""Pairs of unrelated models: other widths and other tokenizers, from text to evaluation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crosscoder.core.model import Crosscoder
from crosscoder.evals import Result
from crosscoder.interventions.ablate import ablate
from crosscoder.lm import Pair
from tests.e2e.commands import SMALL, Outcome, here

WIDER = ["models=tiny", "+models.lms.chat.d_model=48"]
OTHER_TOKENIZER = [*WIDER, "+models.lms.chat.words=true"]
ALIGNED = [*OTHER_TOKENIZER, "models.align=spans"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> list[str]:
    """Return the settings of a corpus of short lines."""
    lines = tmp_path_factory.mktemp("text") / "lines.jsonl"
    said = (
        f"Line {i} says that {i} times {i} is {i * i}, as it was at {i % 12}:30.\n" * 3
        for i in range(900)
    )
    lines.write_text("".join(json.dumps({"text": line}) + "\n" for line in said))
    return ["data=files", f"data.corpora.0.paths=[{lines}]", "data.seq_len=64"]


def trained(folder: Path, *settings: str) -> Path:
    outcome = here("train.py", *settings, *SMALL, f"hydra.run.dir={folder}")
    assert outcome.code == 0, outcome.err
    return folder


def evaluated(run: Path, *settings: str) -> Outcome:
    return here("evaluate.py", f"crosscoder={run}", *settings)


# --- of other widths ---


@pytest.fixture(scope="module")
def wider(text, tmp_path_factory) -> Path:
    """Finish a run on a base of width 32 and a chat of width 48."""
    return trained(tmp_path_factory.mktemp("wider") / "run", *WIDER, *text)


def test_models_of_unequal_width_are_trained_on_and_each_is_reconstructed(wider):
    metrics = json.loads((wider / "metrics.json").read_text())
    assert Crosscoder.from_pretrained(wider).sources.widths == (32, 48)
    assert metrics["fve/base"] > 0.1
    assert metrics["fve/chat"] > 0.1
    assert "fve/difference" not in metrics


def test_evals_that_subtract_are_left_out_with_the_reason(wider):
    outcome = evaluated(wider)
    assert outcome.code == 0, outcome.err
    for name in ("density", "nulls"):
        assert f"{name} is left out: " in outcome.out
    assert outcome.out.count("of equal width") == 2
    splice = Result.load(wider / "results" / "splice.json").scalars
    assert {"delta_ce/base", "delta_ce/chat"} <= set(splice)
    assert Result.load(wider / "results" / "diff.json").scalars.keys() == {"dead_fraction"}
    assert (wider / "report.html").exists()


@pytest.mark.parametrize("name", ["layers", "patching", "ablation", "steering"])
def test_one_that_is_asked_for_is_refused_in_a_line(wider, name):
    outcome = evaluated(wider, f"eval=[{name}]")
    assert outcome.code == 1
    assert "of equal width" in outcome.err
    assert outcome.err.count("\n") == 1


def test_either_model_is_read_encoded_and_edited_in_python(wider):
    crosscoder = Crosscoder.from_pretrained(wider)
    pair = Pair.from_spec(crosscoder.provenance["pair"], "cpu")
    reading = pair.read("Line 3 says that 3 times 3 is 9.")
    code = crosscoder.encode(reading)
    for source in ("base", "chat"):
        solo = crosscoder.encode(reading[source], mode="solo", source=source)
        assert solo.n_latents == code.n_latents
        assert crosscoder.decode(solo, source).shape == reading[source].shape
    ids = reading.tokens.ids[None]
    every = list(range(crosscoder.n_latents))
    for lm in ("base", "chat"):
        clean = pair[lm](ids).logits
        for mode in ("paired", "solo"):
            with pair.edit(lm, ablate(crosscoder, every), mode=mode) as edited:
                assert not torch.allclose(edited(ids).logits, clean)
                edited.generate(ids, max_new_tokens=2, do_sample=False)
        assert torch.equal(pair[lm](ids).logits, clean)


# --- with other tokenizers ---


@pytest.fixture(scope="module")
def aligned(text, tmp_path_factory) -> Path:
    """Finish a run on a base with a token per byte and a wider chat with a token per word."""
    return trained(tmp_path_factory.mktemp("aligned") / "run", *ALIGNED, *text)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (OTHER_TOKENIZER, "base and chat have different tokenizers: "),
        ([*ALIGNED, "data.mode=stream"], "data.mode=stream needs one tokenizer"),
        ([*ALIGNED[:-1], "models.align=words"], "align is spans or null, not 'words'"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_a_line(text, tmp_path, settings, reason, unchecked):
    outcome = here("train.py", *settings, *text, *SMALL, f"hydra.run.dir={tmp_path}")
    assert outcome.code == 1
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1


def test_rows_of_the_store_are_the_same_text_in_both_models(aligned, text):
    """Check from the files alone that each row is the token of both tokenizers at its place."""
    made_with = json.loads((aligned / "crosscoder" / "config.json").read_text())["provenance"]
    folder, pair = Path(made_with["heldout"]), Pair.from_spec(made_with["pair"], "cpu")
    meta = json.loads((folder / "meta.json").read_text())
    tokens = load_file(folder / "00000.tokens.safetensors")
    lines = [
        json.loads(line)["text"]
        for line in Path(text[1].split("[")[1][:-1]).read_text().splitlines()
    ]
    heldout = [line for i, line in enumerate(lines) if i % 10 == 0]
    others = [line for i, line in enumerate(heldout) if i % 4 != 0]
    found = 0
    for document in tokens["document"].unique().tolist():
        ids = tokens["ids"][tokens["document"] == document].tolist()
        spans = [words_of(pair.tokenizers[lm], others[document]) for lm in ("base", "chat")]
        common = [span for span in spans[1] if span in spans[0]]
        assert ids == [spans[1][span] for span in common][: len(ids)]
        found += len(ids)
    assert found == sum(meta["counts"])
    for lm in ("base", "chat"):
        assert load_file(folder / f"00000.{lm}.safetensors")["acts"].shape[0] == meta["counts"][0]
    assert meta["aligned"] == "spans"
    assert 0.3 < meta["kept"]["base"] < meta["kept"]["chat"] < 1


def words_of(tokenizer, line: str) -> dict[tuple[int, int], int]:
    """Return the characters of each token in a line, without the space before them."""
    found, end = {}, 0
    for token in tokenizer(line, add_special_tokens=False)["input_ids"]:
        said = tokenizer.decode([token])
        bare = said.strip() or said
        start = end + said.index(bare)
        end += len(said)
        found[start, start + len(bare)] = token
    return found


def test_what_runs_models_again_is_left_out_and_the_rest_evaluated(aligned):
    outcome = evaluated(aligned)
    assert outcome.code == 0, outcome.err
    assert "splice is left out: splice needs language models with one tokenizer" in outcome.out
    for name in ("density", "nulls"):
        assert f"{name} is left out: " in outcome.out
    reconstruction = Result.load(aligned / "results" / "reconstruction.json").scalars
    assert min(reconstruction["fve/base"], reconstruction["fve/chat"]) > 0.1
    assert (aligned / "results" / "diff.json").exists()
    assert (aligned / "report.html").exists()


@pytest.mark.parametrize("name", ["splice", "behaviour", "ablation"])
def test_what_needs_one_tokenizer_says_so(aligned, name):
    outcome = evaluated(aligned, f"eval=[{name}]")
    assert outcome.code == 1
    assert "one tokenizer" in outcome.err
    assert outcome.err.count("\n") == 1


def test_the_closing_table_says_how_much_is_paired(text, tmp_path):
    outcome = here(
        "train.py", *ALIGNED, *text, *SMALL, "stage=harvest", f"hydra.run.dir={tmp_path}"
    )
    assert outcome.code == 0, outcome.err
    assert "% of base's" in outcome.out


def test_of_equal_widths_the_difference_is_evaluated_too(text, tmp_path):
    run = trained(
        tmp_path / "run", "models=tiny", "+models.lms.chat.words=true", "models.align=spans", *text
    )
    outcome = evaluated(run, "eval=[reconstruction,diff,density,compare]")
    assert outcome.code == 0, outcome.err
    assert "fve/difference" in Result.load(run / "results" / "reconstruction.json").scalars
    assert "count/shared" in Result.load(run / "results" / "diff.json").scalars
    refused = evaluated(run, "eval=[layers]")
    assert refused.code == 1
    assert "one tokenizer for all models" in refused.err
