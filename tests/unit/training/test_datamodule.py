import pytest
import torch

from crosscoder.data import Mixing
from crosscoder.errors import UserError
from crosscoder.training import ActsModule


def rows(batches) -> list[float]:
    return torch.cat(list(batches))[:, 0].tolist()


def test_epochs_hold_the_same_tokens_in_other_orders(planted_splits):
    mixing = Mixing(planted_splits.train, planted_splits.sources)
    loader = ActsModule(mixing, 100, seed=1).train_dataloader()
    first, second = rows(loader), rows(loader)
    assert sorted(first) == sorted(second) == sorted(planted_splits.train.acts(0, ["base"])[:, 0].tolist())
    assert first != second


def test_the_seed_decides(planted_splits):
    mixing = Mixing(planted_splits.train, planted_splits.sources)
    first, again, other = (rows(ActsModule(mixing, 100, seed).train_dataloader()) for seed in (1, 1, 2))
    assert first == again != other


def test_a_store_smaller_than_a_batch_is_refused(planted_splits):
    with pytest.raises(UserError, match="1,000 tokens to train on, fewer than batch_size=1,001"):
        ActsModule(Mixing(planted_splits.heldout, planted_splits.sources), 1001)


@pytest.mark.parametrize("buffer", [300, 10_000])
def test_what_an_epoch_leaves_over_comes_first_in_the_next(planted_splits, buffer):
    mixing = Mixing(planted_splits.train, planted_splits.sources, buffer_tokens=buffer)
    loader = ActsModule(mixing, 900).train_dataloader()
    epochs = [rows(loader) for _ in range(9)]  # of 4,000 tokens: four batches or five
    assert [len(epoch) // 900 for epoch in epochs] == [4, 4, 5, 4, 5, 4, 5, 4, 5]
    every = planted_splits.train.acts(0, ["base"])[:, 0].tolist()
    assert sorted(row for epoch in epochs for row in epoch) == sorted(9 * every)
