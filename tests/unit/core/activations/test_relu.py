import torch

from crosscoder.core.activations.relu import ReLU


def test_relu_is_active_where_it_is_positive():
    pre = torch.tensor([[-1.0, 0.0, 2.0]])
    assert ReLU().select(pre, torch.ones(3)).tolist() == [[False, False, True]]


def test_a_sparse_selection_is_an_index():
    pre = torch.full((3, 64), -1.0)
    pre[1, 5] = 1.0
    index = ReLU().select(pre, torch.ones(64))
    assert (index.rows.tolist(), index.latents.tolist()) == ([1], [5])
