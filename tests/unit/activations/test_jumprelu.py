import torch

from crosscoder.activations.jumprelu import JumpReLU


def test_active_strictly_above_the_latents_own_threshold():
    activation = JumpReLU.of(torch.tensor([1.0, 0.5, 2.0]))
    index = activation.select(torch.tensor([[1.0, 0.6, 1.9], [1.1, 0.5, 2.1]]), torch.full((3,), 9.0))
    assert list(zip(index.rows.tolist(), index.latents.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2)]


def test_a_negative_threshold_never_lets_negative_values_through():
    index = JumpReLU.of(torch.tensor([-1.0])).select(torch.tensor([[-0.5], [0.5]]), torch.ones(1))
    assert index.rows.tolist() == [1]
