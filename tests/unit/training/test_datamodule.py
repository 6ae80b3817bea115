from itertools import islice

import pytest
import torch

from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.training import ActsModule


def rows(mixing: Mixing, seed: int, first: int = 0) -> list[float]:
    """Return an epoch of batches of 100, from number `first`."""
    module = ActsModule(mixing, 100, seed)
    module.load_state_dict({"trained": first})
    return torch.cat(list(islice(module.train_dataloader(), len(mixing) // 100)))[:, 0].tolist()


def test_epochs_hold_the_same_tokens_in_other_orders(planted_splits):
    mixing = Mixing(planted_splits.train, planted_splits.sources)
    first, second = rows(mixing, 1), rows(mixing, 1, first=len(mixing) // 100)
    assert (
        sorted(first)
        == sorted(second)
        == sorted(planted_splits.train.acts(0, ["base"])[:, 0].tolist())
    )
    assert first != second


def test_the_seed_decides(planted_splits):
    mixing = Mixing(planted_splits.train, planted_splits.sources)
    first, again, other = (rows(mixing, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_store_smaller_than_a_batch_is_refused(planted_splits):
    with pytest.raises(UserError, match="1,000 tokens to train on, fewer than batch_size=1,001"):
        ActsModule(Mixing(planted_splits.heldout, planted_splits.sources), 1001)
