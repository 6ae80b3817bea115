import numpy as np
import torch

from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from crosscoder.data.vocabulary import count_ids


def store_with(folder, ids: list[int]) -> Store:
    n = len(ids)
    zeros = torch.zeros(n, dtype=torch.int64)
    tokens = Tokens(torch.tensor(ids), zeros, zeros, torch.full((n,), Kind.PLAIN))
    return Store.from_arrays(folder, {"chat": np.ones((n, 3), np.float32)}, tokens=tokens)


def test_ids_are_counted_over_stores(tmp_path):
    first = store_with(tmp_path / "a", [3, 3, 0, 7])
    second = store_with(tmp_path / "b", [1, 3])
    for stores in ([first, second], [second, first]):
        assert count_ids(stores).tolist() == [1, 1, 0, 3, 0, 0, 0, 1]


def test_activations_without_text_have_no_counts(tmp_path):
    store = Store.from_arrays(tmp_path / "store", {"chat": np.ones((9, 3), np.float32)})
    assert count_ids([store]) is None
