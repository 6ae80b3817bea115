"""Codes as people read them: a line, and the latents on a token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.analysis.table import LatentTable
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.core.types import Tokens
from crosscoder.errors import UserError

F = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 1.0, 3.0, 0.5]])
STRINGS = ["the", "cat", "\x1b[31m"]


@pytest.fixture
def code() -> SparseCode:
    rows = torch.arange(3)
    return DenseCode(F).to_sparse().with_tokens(Tokens(rows, rows, rows, rows), STRINGS)


@pytest.fixture
def table() -> LatentTable:
    columns = {"verdict": ["shared", "chat-specific"], "label": ["dogs", "<b>cats</b>"]}
    return LatentTable.from_columns(columns, {})


def test_a_code_is_a_line_of_tokens_l0_and_top_latents(code):
    expected = "3 tokens × 4 latents, L0 2, top latents 0, 1, 2, 3"
    assert repr(code) == f"SparseCode({expected})"
    assert repr(DenseCode(F)) == f"DenseCode({expected})"
    assert repr(DenseCode(torch.zeros(0, 4))) == "DenseCode(0 tokens × 4 latents)"
    assert repr(DenseCode(torch.zeros(2, 4))) == "DenseCode(2 tokens × 4 latents, L0 0)"
    assert repr(code.tokens) == "Tokens(3 tokens of 3 documents)"


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=6, max_size=6)))
def test_top_sorts_the_active_latents_of_a_token(rows):
    code = DenseCode(torch.tensor(rows).view(-1, 6))
    for token, row in enumerate(rows):
        active = [latent for latent in range(6) if row[latent] > 0]
        expected = sorted(active, key=lambda latent: (-row[latent], latent))[:3]
        assert [found.latent for found in code.top(token, 3)] == expected
        assert code.to_sparse().top(token, 3) == code.top(token, 3)


def test_top_shows_verdicts_and_labels_of_a_table(code, table):
    top = code.top("the", table=table)
    assert [(row.latent, row.verdict, row.label) for row in top] == [
        (1, "chat-specific", "<b>cats</b>"),
        (3, "", ""),
    ]
    assert "token 0 'the'" in repr(top)
    assert "chat-specific" in repr(top)
    assert "<b>" not in top._repr_html_()
    assert repr(code.top(1)) == "no latent is active on token 1 'cat'"
    assert code.top(-1)[0].latent == 0


def test_promoted_tokens_are_the_label_of_a_table_without_labels(code):
    promoted = [["a", "b"], ["c"], [], []]
    table = LatentTable.from_columns({"tokens/difference": promoted}, {})
    assert [row.label for row in code.top(0, table=table)] == ["c", ""]


def test_a_code_in_a_notebook_has_a_row_per_token_with_escaped_text(code):
    shown = code._repr_html_()
    assert shown.count("<tr>") == 4
    assert "\x1b" not in shown


@pytest.mark.usefixtures("unchecked")
def test_tokens_that_do_not_exist_are_refused(code, table):
    for token in (3, -4, 1.0, None, True):
        with pytest.raises(UserError, match="whole number from 0 to 2, or a token's text"):
            code.top(token)
    with pytest.raises(UserError, match="no token 'dog'; the tokens are 'the', 'cat'"):
        code.top("dog")
    with pytest.raises(UserError, match="does not know its tokens' text"):
        DenseCode(F).top("the")
    twice = code.with_tokens(code.tokens, ["a", "a", "b"])
    with pytest.raises(UserError, match=r"'a' occurs at \[0, 1\]"):
        twice.top("a")
    with pytest.raises(UserError, match="n is a whole number from 1, not 0"):
        code.top(0, 0)
    with pytest.raises(UserError, match="table is a LatentTable"):
        code.top(0, table="latents.parquet")
