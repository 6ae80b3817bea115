"""Shapes are checked while tests run: a wrong axis fails where it enters."""

import pytest
import torch
from jaxtyping import TypeCheckError

from crosscoder.core.sparse import DenseCode
from crosscoder.core.types import Kind, Tokens


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
    assert torch.stack(list(part.tensors().values())).tolist() == [
        [2, 0],
        [12, 10],
        [22, 20],
        [32, 30],
    ]


def test_content_tokens_are_those_that_are_not_special():
    kind = torch.tensor([Kind.PLAIN, Kind.SPECIAL, Kind.CHAT, Kind.TEMPLATE])
    tokens = Tokens(*(torch.zeros(4, dtype=torch.int64) for _ in range(3)), kind)
    assert tokens.is_content.tolist() == [True, False, True, True]


def test_the_names_are_in_the_order_of_the_numbers_that_stores_hold():
    numbers = {name: number for number, name in enumerate(Kind.NAMES)}
    assert numbers == {"plain": 0, "chat": 1, "template": 2, "special": 3}
    assert numbers == {name: getattr(Kind, name.upper()) for name in Kind.NAMES}
