"""The whole diff eval on a tiny pair: table, examples and lens in files, counts and ranks in the result."""

import json
import sys

import numpy as np
import pytest

from crosscoder.diff.analysis import Analysis
from crosscoder.diff.prompts import PromptContrast
from crosscoder.diff.table import LatentTable, load_parquet
from crosscoder.evals import Result, Subject
from crosscoder.evals.diff import DiffEval
from crosscoder.organisms.expertise import Framed
from crosscoder.report import markdown
from crosscoder.report.cards import cards
from crosscoder.report.page import write_report
from crosscoder.runs import Run
from tests.unit.evals.tiny import tiny_subject


@pytest.fixture(scope="module")
def subject(tiny_pair, tmp_path_factory) -> Subject:
    return tiny_subject(tiny_pair, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def run(subject) -> Run:
    """A run folder that holds the result."""
    contrast = PromptContrast(Framed("heldout"), n_pairs=3, permutations=50)
    result = DiffEval(Analysis(n_resamples=5), contexts=2, promoted=4, contrasts=[contrast])(subject)
    run = Run(subject.folder)
    result.save(run.results)
    return run


def test_counts_are_of_every_latent_once(run):
    scalars = Result.load(run.result("diff")).scalars
    classes = ("chat_specific", "base_specific", "shared", "rewritten", "shrunk", "decoupled", "undetermined", "dead")
    assert {f"count/{name}" for name in classes} <= set(scalars)
    assert sum(value for key, value in scalars.items() if key.startswith("count/")) == 32


def test_the_table_has_every_part(run):
    table = LatentTable.load(run.results / "latents.parquet")
    assert {"verdict", "nu/error/chat", "difference_share", "twin", "expertise", "expertise/holm"} <= set(table.columns)
    assert {"tokens/base", "tokens/chat", "tokens/difference"} <= set(table.columns)
    assert all(len(tokens) == 4 for tokens in table["tokens/chat"])


def test_every_live_latent_has_contexts(run):
    table = LatentTable.load(run.results / "latents.parquet")
    contexts, _ = load_parquet(run.results / "contexts.parquet")
    assert set(contexts["latent"]) == set(table.query("not dead")["latent"])
    highest = contexts[contexts["group"] == "top plain"].groupby("latent")["activations"].first().map(max)
    np.testing.assert_allclose(highest, table["max"][highest.index], rtol=0.01)


def test_ranks_are_places_in_the_table(run):
    table = LatentTable.load(run.results / "latents.parquet")
    for row in Result.load(run.result("diff")).tables["expertise"]:
        assert row["by energy"] == table.rank("difference_energy")[row["latent"]]
        assert row["by cosine"] == table.rank("cosine", ascending=True)[row["latent"]]
        assert row["expertise"] == table["expertise"][row["latent"]]


def test_the_result_is_plain_json(run):
    json.loads(run.result("diff").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_without_language_models_there_are_no_strings_but_a_table(subject, tmp_path):
    result = DiffEval(Analysis(n_resamples=5), contexts=2)(Subject(subject.crosscoder, subject.heldout, None))
    result.save(tmp_path)
    table = LatentTable.load(tmp_path / "latents.parquet")
    assert not [column for column in table.columns if column.startswith(("tokens/", "expertise"))]
    assert len(load_parquet(tmp_path / "contexts.parquet")[0])


def test_cards_and_results_go_into_documents_and_a_page(run, tmp_path, monkeypatch):
    document = tmp_path / "findings.md"
    document.write_text("<!-- diff -->\n<!-- end of diff -->\n<!-- cards -->\n<!-- end of cards -->\n")
    monkeypatch.setattr(sys, "argv", ["markdown", str(run.folder), str(document)])
    markdown.main()
    text = document.read_text()
    assert "count/chat_specific" in text
    first = Result.load(run.result("diff")).tables["expertise"][0]["latent"]
    assert f"**Latent {first}**" in text
    assert cards(run).count("- **Latent") == 5
    assert write_report(run).stat().st_size > 1_000_000
