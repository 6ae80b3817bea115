"""Shapes are enforced while tests run: a wrong axis fails where it enters, not three calls later."""

import pytest
import torch
from jaxtyping import TypeCheckError

from crosscoder.sparse import DenseCode
from crosscoder.types import Kind, Tokens


def test_a_record_of_unequal_columns_is_refused():
    columns = [torch.zeros(3, dtype=torch.int64) for _ in range(3)]
    with pytest.raises(TypeCheckError):
        Tokens(*columns, torch.zeros(4, dtype=torch.int64))


def test_an_argument_of_the_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError):
        DenseCode(torch.zeros(3, 5)).decode(torch.zeros(7))


def test_tokens_select_rows_in_every_column():
    tokens = Tokens(*(torch.arange(4) + 10 * column for column in range(4)))
    part = tokens[torch.tensor([2, 0])]
    assert len(part) == 2
    assert torch.stack(list(part.tensors().values())).tolist() == [[2, 0], [12, 10], [22, 20], [32, 30]]


def test_every_kind_has_its_name():
    assert [Kind.NAMES[kind] for kind in (Kind.PLAIN, Kind.CHAT, Kind.TEMPLATE, Kind.SPECIAL)] == list(Kind.NAMES)
