"""The diff eval on a tiny pair: table, examples and lens in files, counts and ranks in results."""

import json
import sys

import numpy as np
import pytest
import torch

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.columns.prompts import PromptContrast
from crosscoder.analysis.contexts import Contexts
from crosscoder.analysis.parquet import load_contexts
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.core.types import Kind
from crosscoder.data.tokens import TokenSet
from crosscoder.evals import EvalContext, Result
from crosscoder.evals import diff as module
from crosscoder.evals.diff import DiffEval
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.report import markdown
from crosscoder.report.html.cards import format_cards
from crosscoder.report.html.page import write_report
from tests.helpers.small import crosscoder_of, store_of


@pytest.fixture(scope="module")
def run(context) -> Run:
    """Save the result in a run folder."""
    result = DiffEval(contexts=2, promoted=4, n_pairs=3)(context)
    run = Run(context.folder)
    result.save(run.results)
    return run


def test_counts_are_of_every_latent_once(run):
    scalars = Result.load(run.result_path("diff")).scalars
    classes = (
        "chat_specific",
        "base_specific",
        "shared",
        "rewritten",
        "shrunk",
        "decoupled",
        "undetermined",
        "dead",
    )
    assert {f"count/{name}" for name in classes} <= set(scalars)
    assert sum(value for key, value in scalars.items() if key.startswith("count/")) == 32


def test_the_table_has_every_group_of_columns(run):
    table = LatentTable.load(run.results / "latents.parquet")
    assert {
        "verdict",
        "nu/error/chat",
        "difference_share",
        "twin",
        "expertise",
        "expertise/holm",
    } <= set(table.columns)
    assert {"tokens/base", "tokens/chat", "tokens/difference"} <= set(table.columns)
    lens = {column for column in table.columns if column.startswith("jacobian_tokens/")}
    assert lens == {"jacobian_tokens/chat", "jacobian_tokens/difference"}
    assert all(len(tokens) == 4 for tokens in table["tokens/chat"])


def test_lenses_name_only_tokens_that_occur_often_enough(context):
    result = DiffEval(contexts=1, promoted=4, n_pairs=2, least_count=6)(context)
    table = result.files["latents.parquet"]
    stores = {store.folder: store for store in context.open_stores()}
    read = [TokenSet.from_store(store).tokens.ids.numpy() for store in stores.values()]
    ids, counts = np.unique(np.concatenate(read), return_counts=True)
    common = set(context.pair.name_tokens(ids[counts >= 6].tolist()))
    assert 4 <= len(common) < len(ids)
    for lens in ("tokens", "jacobian_tokens"):
        named = set().union(*table[f"{lens}/difference"])
        assert named <= common
    assert result.meta["lens"] == {
        "least_count": 6,
        "counted_tokens": counts.sum(),
        "named_tokens": len(common),
        "jacobian_contexts": result.meta["lens"]["jacobian_contexts"],
    }
    every = DiffEval(contexts=1, promoted=4, n_pairs=2, least_count=0, jacobian_contexts=0)(context)
    table = every.files["latents.parquet"]
    assert not set().union(*table["tokens/chat"]) <= common
    assert "jacobian_tokens/chat" not in table.columns


def test_the_jacobian_lens_of_every_source_is_made_if_asked_for(context):
    evaluate = DiffEval(contexts=1, promoted=4, n_pairs=2, jacobian_all_sources=True)
    columns = evaluate(context).files["latents.parquet"].columns
    assert {f"jacobian_tokens/{name}" for name in ("base", "chat", "difference")} <= set(columns)


def test_every_live_latent_has_contexts(run):
    table = LatentTable.load(run.results / "latents.parquet")
    contexts, _ = load_contexts(run.results / "contexts.parquet")
    assert set(contexts["latent"]) == set(table.query("not dead")["latent"])
    highest = (
        contexts[contexts["group"] == "top plain"].groupby("latent")["activations"].first().map(max)
    )
    np.testing.assert_allclose(highest, table["max"][highest.index], rtol=0.01)


def test_ranks_are_those_of_the_table(run):
    table = LatentTable.load(run.results / "latents.parquet")
    for row in Result.load(run.result_path("diff")).tables["expertise"]:
        assert row["by energy"] == table.rank("difference_energy")[row["latent"]]
        assert row["by cosine"] == table.rank("cosine", ascending=True)[row["latent"]]
        assert row["expertise"] == table["expertise"][row["latent"]]


def test_the_table_and_the_result_say_what_was_matched_between_prompts(run):
    spans = LatentTable.load(run.results / "latents.parquet").meta["prompt_spans"]["expertise"]
    assert (spans["n_pairs"], spans["positions"]) == (3, "opening")
    rows = Result.load(run.result_path("diff")).tables["prompt spans"]
    assert [row["prompts"] for row in rows] == ["first", "second"]
    assert [row["tokens, these pairs"] for row in rows] == spans["used"]
    assert rows[0]["tokens read"] == rows[1]["tokens read"] == spans["read"][0]


def test_the_result_is_plain_json(run):
    json.loads(
        run.result_path("diff").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )


def test_without_language_models_there_is_a_table_without_strings(context, tmp_path):
    result = DiffEval(contexts=2)(EvalContext(context.crosscoder, context.heldout, None))
    result.save(tmp_path)
    table = LatentTable.load(tmp_path / "latents.parquet")
    assert not [column for column in table.columns if column.startswith(("tokens/", "expertise"))]
    assert len(load_contexts(tmp_path / "contexts.parquet")[0])


def test_cards_and_results_go_into_documents_and_a_page(run, tmp_path, monkeypatch):
    document = tmp_path / "findings.md"
    document.write_text(
        "<!-- diff -->\n<!-- end of diff -->\n<!-- cards -->\n<!-- end of cards -->\n"
    )
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    markdown.main()
    text = document.read_text()
    assert "count/chat_specific" in text
    first = Result.load(run.result_path("diff")).tables["expertise"][0]["latent"]
    assert f"**Latent {first}**" in text
    assert format_cards(run).count("- **Latent") == 5
    assert write_report(run).stat().st_size > 1_000_000


@pytest.mark.faults
@pytest.mark.parametrize("part", ["lens", "jacobian", "contexts", "pass", "contrast"])
def test_a_step_that_fails_leaves_the_others(context, tmp_path, monkeypatch, part):
    def breaks(*given, **more):
        raise AttributeError("no attribute 'norm'")

    places = {
        "lens": (module, "compute_lens"),
        "jacobian": (module, "draw_contexts"),
        "contexts": (Contexts, "frame"),
        "pass": (Contexts, "update"),
    }
    owner, name = places.get(part, (PromptContrast, "read"))
    monkeypatch.setattr(owner, name, breaks)
    (tmp_path / "contexts.parquet").write_bytes(b"of before")
    result = DiffEval(contexts=2, promoted=4, n_pairs=3)(context)
    result.save(tmp_path)
    names = {
        "lens": {"lens", "Jacobian lens"},
        "jacobian": {"Jacobian lens"},
        "contrast": {"expertise"},
    }
    left_out = names.get(part, {"contexts"})
    assert set(result.errors) == set(result.meta["left_out"]) == left_out
    table = LatentTable.load(tmp_path / "latents.parquet")
    assert {"verdict", "nu/error/chat", "difference_share"} <= set(table.columns)
    assert ("tokens/chat" in table.columns) == (part != "lens")
    assert ("jacobian_tokens/chat" in table.columns) == (part not in ("lens", "jacobian"))
    assert ("expertise" in table.columns) == (part != "contrast")
    assert (tmp_path / "contexts.parquet").exists() == ("contexts" not in left_out)


@pytest.mark.faults
def test_turn_markers_that_are_special_tokens_leave_out_that_contrast_alone(context, monkeypatch):
    read = Pair.read

    def with_special_markers(self, *given, **more):
        reading = read(self, *given, **more)
        reading.tokens.kind[reading.tokens.kind == Kind.TEMPLATE] = Kind.SPECIAL
        return reading

    monkeypatch.setattr(Pair, "read", with_special_markers)
    result = DiffEval(contexts=2, promoted=4, n_pairs=3)(context)
    assert "does not end in the same turn markers" in result.meta["left_out"]["expertise"]
    assert not result.errors  # it is not applicable to these models, which is no error
    assert "tokens/chat" in result.files["latents.parquet"].columns


def test_two_equal_streams_have_no_difference_to_divide(tmp_path):
    acts = torch.randn(200, 6)
    store = store_of(tmp_path, {"base": acts, "chat": acts}, [100, 100])
    crosscoder = crosscoder_of(TopK(3), (6, 6)).fold()
    table = Analysis(n_resamples=5).make_table(crosscoder, store)
    assert table.meta["difference"] == {}
    assert np.isnan(table.query("not dead")["difference_share"]).all()
