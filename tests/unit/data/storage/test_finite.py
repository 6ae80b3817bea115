"""NaN and infinity in activations are refused with source, shard and row before any figure."""

import pytest
import torch

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.base import encode_store
from crosscoder.core.activations.topk import TopK
from crosscoder.core.types import Kind
from crosscoder.data import Harvest, Mixing, Stored
from crosscoder.data.storage.finite import find_not_finite, read_finite
from crosscoder.errors import UserError
from crosscoder.evals import EvalContext
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.support import heldout
from crosscoder.evals.support.encoding import read_acts
from tests.helpers.small import crosscoder_of, random_acts, sources_of, store_of

NAN, INFINITY = float("nan"), float("inf")
SOURCES = sources_of(6, 6)


def write_store_with(folder, value: float, row: int = 37, kind: torch.Tensor | None = None):
    """Write a store of two shards of 30 rows, with a value in one row of chat."""
    streams = {name: random_acts(60, 6, seed) for seed, name in enumerate(("base", "chat"))}
    if row >= 0:
        streams["chat"][row, 2] = value
    return store_of(folder, streams, [30, 30], kind)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize(
    "read",
    [
        lambda store, crosscoder: list(Mixing(store, SOURCES).iter_in_order(16)),
        lambda store, crosscoder: list(encode_store(crosscoder, store)),
        lambda store, crosscoder: list(heldout.read_batches(store, SOURCES.names, 60, 16)),
        lambda store, crosscoder: list(read_acts(store, SOURCES)),
        lambda store, crosscoder: ReconstructionEval()(EvalContext(crosscoder, store, None)),
        lambda store, crosscoder: Analysis().make_table(crosscoder, store),
    ],
)
def test_everything_that_measures_refuses_values_that_are_not_finite(read, value, tmp_path):
    store = write_store_with(tmp_path, value)
    with pytest.raises(
        UserError,
        match="has NaN or infinity in chat, shard 1, row 8: nothing can be measured on it",
    ):
        read(store, crosscoder_of(TopK(3)).fold())


def test_excluded_tokens_need_not_be_finite(tmp_path):
    kind = torch.where(torch.arange(60) == 37, Kind.SPECIAL, Kind.PLAIN)
    store = write_store_with(tmp_path, NAN, kind=kind)
    assert sum(len(batch) for batch in Mixing(store, SOURCES).iter_in_order(16)) == 59
    assert (
        ReconstructionEval()(EvalContext(crosscoder_of(TopK(3)).fold(), store, None)).scalars[
            "fve/chat"
        ]
        < 1
    )


@pytest.mark.parametrize("part", ["heldout", "validation"])
def test_a_store_from_elsewhere_is_refused_before_training(part, tmp_path, tiny_pair):
    stores = {
        name: write_store_with(tmp_path / name, NAN, 37 if name == part else -1)
        for name in ("train", "heldout", "validation")
    }
    data = Stored(**{name: str(store.folder) for name, store in stores.items()})
    with pytest.raises(
        UserError, match=rf"store .*{part} has NaN or infinity in chat, shard 1, row 8"
    ):
        data.make_splits(tiny_pair, [], None, Harvest(tmp_path), {})


def test_a_sum_that_overflows_does_not_count_as_infinity():
    large = torch.full((4, 6), 3e38)
    assert find_not_finite(large) is None
    large[2, 1] = NAN
    assert find_not_finite(large) == 2


def test_finite_rows_are_returned_unchanged(tmp_path):
    store = write_store_with(tmp_path, NAN)
    rows = torch.tensor([3, 29, 0])
    assert torch.equal(read_finite(store, 0, ["chat"], rows), store.acts(0, ["chat"])[rows])
