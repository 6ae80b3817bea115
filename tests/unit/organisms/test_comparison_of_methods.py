"""Tables and pictures of `benchmarks.organisms`, from rows that are written by hand."""

import json
import sys

import pytest

from benchmarks import organism_plots, organisms
from crosscoder.errors import UserError


def make_row(organism: str, method: str, seed: int = 0, **figures: object) -> dict[str, object]:
    """Return a row as the benchmark keeps it."""
    row = {
        "organism": organism,
        "layer": 9,
        "method": method,
        "recipe": "default",
        "seed": seed,
        "pieces": 20,
        "uses_labels": False,
        "found": None,
        "AUROC": 0.5,
        "chance AUROC": 0.6,
        "vocabulary": 0.0,
        "chance vocabulary": 0.0,
        "separating": 0,
        "difference": 0.1,
    }
    return row | figures


def make_removal(removed: float | None, kl: float) -> dict[str, object]:
    """Return the columns of a removal, the same at every size."""
    figures: dict[str, object] = {}
    for size in (1, 4, 16):
        figures[f"removed@{size}"] = removed
        figures[f"KL plain@{size}"] = kl
        figures[f"control rate@{size}"] = 0.0
    return figures


@pytest.mark.parametrize(
    ("removed", "kl", "expected"),
    [(0.9, 0.05, True), (0.89, 0.0, False), (1.0, 0.06, False), (None, 0.0, False)],
)
def test_the_bar_asks_for_both_the_behaviour_and_the_plain_text(removed, kl, expected):
    assert organisms.passes(make_row("style", "pca", **make_removal(removed, kl))) is expected


def test_a_method_passes_as_often_as_its_crosscoders_do():
    rows = [
        make_row("style", "crosscoder_energy", 0, **make_removal(1.0, 0.01)),
        make_row("style", "crosscoder_energy", 1, **make_removal(0.2, 0.01)),
    ]
    (row,) = organisms.tabulate_removed(rows)
    assert row["passes"] == "1 of 2"
    assert row["method"] == "crosscoder_energy, default"


def test_what_is_found_without_a_plant_is_counted_by_null():
    rows = [
        make_row("unchanged", "probe", separating=4),
        make_row("reseed", "probe", separating=2),
        make_row("style", "probe", separating=9),
    ]
    (row,) = organisms.tabulate_false(rows)
    assert row["separating, unchanged"] == 4
    assert row["separating, reseed"] == 2
    assert "separating, style" not in row
    assert row["false fraction"] == pytest.approx(6 / 40)
    assert row["passes"] == 0


def test_evidence_counts_as_separating_above_the_limit():
    evidence = [
        {"method": "probe", "AUROC": 0.95},
        {"method": "probe", "AUROC": 0.9},
        {"method": "pca", "AUROC": 1.0},
        {"method": "probe"},
    ]
    assert organisms.count_separating(evidence, "probe") == 1


def test_both_pictures_are_drawn_beside_the_figures(tmp_path, monkeypatch):
    rows = [
        make_row("style", "crosscoder_energy", **make_removal(1.0, 0.01)),
        make_row("expertise", "crosscoder_energy", **make_removal(-2.0, 3.0)),
        make_row("diluted_1", "crosscoder_energy", **make_removal(None, 3.0)),
    ]
    path = tmp_path / "organisms.json"
    path.write_text(json.dumps({"runs": rows}))
    monkeypatch.setattr(sys, "argv", ["organism_plots", str(path)])
    organism_plots.main()
    assert "behaviour removed by 16 pieces" in (tmp_path / "removed.svg").read_text()
    assert "diluted_1" in (tmp_path / "dilution.svg").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("style", ("style", 9, "default")),
        ("style:15", ("style", 15, "default")),
        ("style:15:ours", ("style", 15, "ours")),
    ],
)
def test_a_job_names_an_organism_and_maybe_a_layer_and_a_recipe(text, expected):
    job = organisms.Job.parse(text, seed=1)
    assert (job.organism, job.layer, job.recipe) == expected
    assert job.seed == 1
    assert not job.has_rivals


@pytest.mark.parametrize("text", ["style:nine", "style:9:theirs", "style:9:ours:more"])
def test_a_job_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match=text):
        organisms.Job.parse(text, seed=0)


def test_tables_have_a_row_for_each_method_and_a_column_for_each_organism():
    rows = [
        make_row("style", "pca", 0, found=3, AUROC=1.0),
        make_row("style", "pca", 1, AUROC=0.8),
        make_row("facts", "pca"),
        make_row("unchanged", "pca", found=1),
    ]
    (ranks,) = organisms.tabulate_by_organism(rows, organisms.describe_ranks)
    assert ranks["style"] == "3, –"
    assert ranks["facts"] == "–"
    assert "unchanged" not in ranks
    (aurocs,) = organisms.tabulate_by_organism(rows, organisms.describe_aurocs)
    assert aurocs["style"] == "0.90 (0.60)"


def test_figures_that_a_method_does_not_have_are_a_dash():
    row = make_row("style", "token_kl", vocabulary=None)
    assert organisms.describe_words([row]) == "–"
