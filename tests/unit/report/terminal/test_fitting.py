"""Tables fit the terminal, and break between words only."""

import pytest

from crosscoder.report.terminal.fitting import fit_columns, measure
from crosscoder.report.terminal.tables import format_cell, show

ROWS = [
    {
        "latent": 1234,
        "verdict": "chat-specific",
        "rule": "R > 0.7, Lindsey et al. 2024",
        "difference_share": 0.1165,
        "delta_norm": 0.9924,
        "n_active": 123_456,
        "cosine": -0.4438,
    }
]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_breaks_no_word_and_no_number(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    show("a title of some words that is longer than forty columns", ROWS, "4,096 tokens, 3 s")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    for row in ROWS:
        for name, value in row.items():
            for word in f"{name} {format_cell(name, value)}".split():
                assert word in shown
    assert "1234" in shown
    assert shown.count("4,096 tokens") == 1


def test_a_table_too_wide_for_any_part_is_printed_as_pairs(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    path = "/data/" + "x" * 80
    show("stores", [{"store": "train", "folder": path}, {"store": "heldout", "folder": path}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["stores, 1 of 2", "store   train", f"folder  {path}"]


def test_the_parts_of_a_table_repeat_its_first_column():
    parts = fit_columns([["aaaa"], ["bbbb"], ["cccc"], ["dddd"]], width=22)
    assert [part.columns for part in parts] == [[0, 1, 2], [0, 3]]
    assert measure(parts[0].widths) <= 22


def test_columns_become_narrower_only_as_far_as_needed():
    cells = [["rule", "one two three four"], ["count", "12"]]
    (part,) = fit_columns(cells, width=200)
    assert part.widths == [18, 5]
    (part,) = fit_columns(cells, width=24)
    assert part.widths == [12, 5]


def test_names_of_rows_are_not_broken_before_the_table_is_divided():
    patches = ["patch", "bottom half by difference", "none"]
    figures = [["KL of the first", "0.1730"] for _ in range(8)]
    parts = fit_columns([patches, *figures], width=80)
    assert len(parts) == 2
    assert all(part.widths[0] == 25 for part in parts)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("latent", 12345, "12345"),
        ("latent", 12345.0, "12345"),
        ("token", 1024, "1024"),
        ("token_id", 1024, "1024"),
        ("token id", 235265, "235265"),
        ("reference latent", 12345, "12345"),
        ("twin", 12345, "12345"),
        ("seed", 4294967295, "4294967295"),
        ("year", 2026, "2026"),
        ("latents", 4096, "4,096"),
        ("position", 1234.5, "1,234.5"),
        ("twin", float("nan"), "–"),
        ("seed", True, "True"),
    ],
)
def test_identifiers_have_no_thousands_separators(name, value, shown):
    assert format_cell(name, value) == shown
