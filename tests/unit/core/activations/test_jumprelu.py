import torch

from crosscoder.core.activations.jumprelu import JumpReLU

SCALE = torch.full((3,), 9.0)


def test_active_strictly_above_the_latents_own_threshold():
    activation = JumpReLU.from_threshold(torch.tensor([1.0, 0.5, 2.0]))
    active = activation.select(torch.tensor([[1.0, 0.6, 1.9], [1.1, 0.5, 2.1]]), SCALE)
    assert active.tolist() == [[False, True, False], [True, False, True]]


def test_a_sparse_selection_is_an_index():
    pre = torch.zeros(30, 3)
    pre[7, 2] = 3.0
    index = JumpReLU.from_threshold(torch.tensor([1.0, 0.5, 2.0])).select(pre, SCALE)
    assert (index.rows.tolist(), index.latents.tolist()) == ([7], [2])


def test_a_negative_threshold_never_selects_negative_values():
    active = JumpReLU.from_threshold(torch.tensor([-1.0])).select(
        torch.tensor([[-0.5], [0.5]]), torch.ones(1)
    )
    assert active.tolist() == [[False], [True]]
