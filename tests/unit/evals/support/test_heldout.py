import torch

from crosscoder.evals.support.heldout import read_sequences
from tests.helpers.small import random_acts, store_of


def test_every_sequence_of_shards_of_any_size_is_read_once(tmp_path):
    store = store_of(
        tmp_path / "s", {"base": random_acts(9, 2)}, [2, 4, 3]
    )  # a sequence is one token
    found = torch.cat([tokens.ids for tokens in read_sequences(store, 9, batch_tokens=2)])
    assert found.tolist() == list(range(9))
    some = torch.cat([tokens.ids for tokens in read_sequences(store, 3)])
    assert some.tolist() == [0, 3, 6]
