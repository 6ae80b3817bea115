"""Attention of the last tokens against torch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from crosscoder.lm.tail_attention import attend

N_CACHED = 5


def draw(n_groups: int, n_new: int) -> list[Tensor]:
    """Draw queries, keys and values of four heads, with gradients."""
    generator = torch.Generator().manual_seed(0)
    n_all = N_CACHED + n_new
    shapes = [(2, 4, n_new, 8), (2, n_groups, n_all, 8), (2, n_groups, n_all, 6)]
    drawn = []
    for shape in shapes:
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        drawn.append(numbers.requires_grad_())
    return drawn


def attend_usually(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    n_new, n_all = query.shape[2], key.shape[2]
    is_visible = torch.ones(n_new, n_all, dtype=torch.bool).tril(n_all - n_new)
    attended = scaled_dot_product_attention(
        query, key, value, attn_mask=is_visible, scale=scale, enable_gqa=True
    )
    return attended.transpose(1, 2)


@pytest.mark.parametrize("n_groups", [1, 2, 4])
@pytest.mark.parametrize("n_new", [1, 3])
@pytest.mark.parametrize("scaling", [None, 0.7])
def test_it_is_torchs_attention_with_gradients_to_new_tokens_only(n_groups, n_new, scaling):
    found_from = draw(n_groups, n_new)
    expected_from = draw(n_groups, n_new)
    found, weights = attend(None, *found_from, None, scaling, dropout=0.0)
    expected = attend_usually(*expected_from, scaling)
    assert weights is None
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for tensor, other in zip(found_from, expected_from, strict=True):
        torch.testing.assert_close(tensor.grad[:, :, -n_new:], other.grad[:, :, -n_new:])
    for tensor in found_from[1:]:
        assert not tensor.grad[:, :, :N_CACHED].any()


def test_scores_are_capped():
    query, key, value = draw(1, 1)
    found, _ = attend(None, query, key, value, None, scaling=1.0, softcap=0.5)
    scores = 0.5 * torch.tanh(query @ key.expand(-1, 4, -1, -1).mT / 0.5)
    expected = scores.softmax(-1) @ value.expand(-1, 4, -1, -1)
    torch.testing.assert_close(found, expected.transpose(1, 2))
