"""Names of excluded tokens, and the replacement of outliers in a stream."""

import math

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data.exclude import (
    EXCLUDE,
    choose_figure_exclude,
    clip_norms,
    compute_norms,
    is_outlier,
    parse_kinds,
    read_figure_exclude,
    replace_rows,
)
from crosscoder.errors import UserError


def test_kinds_have_numbers_and_outliers_have_none():
    assert parse_kinds(["template", "outlier", "special"]).tolist() == [Kind.TEMPLATE, Kind.SPECIAL]
    assert parse_kinds([]).tolist() == []


@pytest.mark.parametrize(
    ("exclude", "words"),
    [
        (["outliers"], "kinds of tokens are plain, chat, template, special, outlier, not outliers"),
        (
            "outlier",
            r"exclude is a list of kinds of tokens, e\.g\. \[special,outlier\] or \[\] for none, "
            "not 'outlier'",
        ),
        (None, "exclude is a list of kinds of tokens"),
        ([1, ["special"]], "not 1, "),
    ],
)
def test_other_names_are_refused(exclude, words, unchecked):
    with pytest.raises(UserError, match=words):
        parse_kinds(exclude)


def test_figures_exclude_special_tokens_always_and_outliers_if_training_did():
    assert choose_figure_exclude([]) == choose_figure_exclude(["template"]) == ("special",)
    assert choose_figure_exclude(["outlier"]) == EXCLUDE
    assert read_figure_exclude({"exclude": ["special", "outlier"]}) == EXCLUDE
    assert read_figure_exclude({"exclude": ["special"]}) == ("special",)
    assert read_figure_exclude({"exclude": ["special"]}, {"exclude": ["outlier"]}) == EXCLUDE


@pytest.mark.parametrize(
    "provenance", [{}, {"exclude": None}, {"exclude": "outlier"}, {"exclude": 5}]
)
def test_a_provenance_without_exclude_counts_as_trained_on_outliers(provenance):
    assert read_figure_exclude(provenance) == ("special",)


def test_norms_that_are_not_finite_are_not_outliers():
    assert is_outlier(torch.tensor([1.0, 3.0, math.inf, math.nan]), 2.0).tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert not is_outlier(torch.tensor([1.0, 3.0]), math.nan).any()


def test_norms_are_measured_in_float32():
    acts = torch.full((5000, 3), 200.0, dtype=torch.float16)
    assert compute_norms(acts).dtype == torch.float32
    torch.testing.assert_close(compute_norms(acts), torch.full((5000,), 200 * 3**0.5))


def test_an_unusable_row_is_replaced_by_the_next_usable_one_of_its_sequence():
    usable = torch.tensor([True, False, False, True, False, True, False, False, False, False])
    rows = torch.tensor([0, 1, 2, 3, 4, 6, 7, 8])
    # sequences of 4: 1 and 2 → 3; 6 and 7 are the last of theirs, whose first usable one is 5; the
    # third has none
    assert replace_rows(rows, usable, 4).tolist() == [0, 3, 3, 3, 5, 5, 5, 8]
    assert rows.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]


def test_norms_above_the_limit_are_clipped():
    acts = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    assert torch.equal(clip_norms(acts, None), acts)
    torch.testing.assert_close(clip_norms(acts, 10.0), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
