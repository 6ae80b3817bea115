"""Clipping on a CPU against torch's."""

import pytest
import torch
from torch import Tensor, nn

from crosscoder.training.clipping import can_clip, clip_norm

SHAPES = [(7, 5), (7,), (1,), ()]


def draw_gradients(size: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [size * torch.randn(shape, generator=generator) for shape in SHAPES]


@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("limit", [0.5, 1.0, 30.0])
def test_gradients_are_those_of_torch(size, limit):
    gradients = draw_gradients(size)
    clip_norm(gradients, limit)
    weights = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for weight, gradient in zip(weights, draw_gradients(size), strict=True):
        weight.grad = gradient
    torch.nn.utils.clip_grad_norm_(weights, limit)
    for weight, gradient in zip(weights, gradients, strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-5, atol=0)


def test_gradients_within_the_limit_stay_as_they_are():
    gradients = draw_gradients(1e-3)
    versions = [gradient._version for gradient in gradients]
    clip_norm(gradients, 1.0)
    assert [gradient._version for gradient in gradients] == versions
    for gradient, drawn in zip(gradients, draw_gradients(1e-3), strict=True):
        assert torch.equal(gradient, drawn)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_stays_so(number):
    gradients = draw_gradients(1.0)
    gradients[0][0, 0] = number
    clip_norm(gradients, 1.0)
    assert gradients[0][0, 0].isnan()


def test_nan_spreads_to_all_gradients_as_in_torch():
    gradients = draw_gradients(1.0)
    gradients[0][0, 0] = torch.nan
    clip_norm(gradients, 1.0)
    assert all(bool(gradient.isnan().all()) for gradient in gradients)


def test_rows_need_not_be_contiguous():
    gradient = torch.randn(6, 4).T
    clip_norm([gradient], 0.5)
    torch.testing.assert_close(gradient.norm(), torch.tensor(0.5))


def test_only_plain_tensors_on_a_cpu_are_clipped_here():
    assert can_clip([torch.zeros(2), torch.zeros(2)])
    assert not can_clip([torch.zeros(2), torch.zeros(2, device="meta")])
    assert not can_clip([nn.Parameter(torch.zeros(2))])
