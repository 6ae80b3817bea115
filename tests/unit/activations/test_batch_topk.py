import pytest
import torch

from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.activations.jumprelu import JumpReLU


@pytest.fixture
def pre() -> torch.Tensor:
    return torch.randn(40, 30)


@pytest.fixture
def scale() -> torch.Tensor:
    return torch.rand(30) + 0.2


def test_training_keeps_k_times_batch_of_the_largest_scores(pre, scale):
    index = BatchTopK(3).train().select(pre, scale)
    v = pre.relu() * scale
    assert set(zip(index.rows.tolist(), index.latents.tolist(), strict=True)) == {
        divmod(position, 30) for position in v.flatten().topk(3 * 40).indices.tolist()
    }


def test_the_threshold_starts_at_the_smallest_kept_score_and_follows_it(pre, scale):
    activation = BatchTopK(3, decay=0.9).train()
    expected = None
    for batch in (pre, 2 * pre, 3 * pre):
        smallest = float((batch.relu() * scale).flatten().topk(3 * 40).values.min())
        expected = smallest if expected is None else 0.9 * expected + 0.1 * smallest
        activation.select(batch, scale)
        assert float(activation.threshold) == pytest.approx(expected)


def test_inference_uses_the_threshold_and_leaves_it_alone(pre, scale):
    activation = BatchTopK(3).eval()
    activation.threshold.fill_(0.7)
    index = activation.select(pre, scale)
    expected = (pre.relu() * scale > 0.7).nonzero()
    assert torch.stack([index.rows, index.latents], dim=1).tolist() == expected.tolist()
    assert float(activation.threshold) == pytest.approx(0.7)


def test_inference_before_any_training_keeps_what_is_positive(pre, scale):
    index = BatchTopK(3).eval().select(pre, scale)
    assert len(index.rows) == int((pre > 0).sum())


def test_a_batch_without_positive_scores_leaves_the_threshold(scale):
    activation = BatchTopK(3).train()
    activation.threshold.fill_(0.7)
    assert len(activation.select(-torch.ones(4, 30), scale).rows) == 0
    assert float(activation.threshold) == pytest.approx(0.7)


def test_frozen_it_is_a_jumprelu_that_selects_the_same(pre, scale):
    activation = BatchTopK(3).eval()
    activation.threshold.fill_(0.7)
    frozen = activation.frozen(scale)
    assert isinstance(frozen, JumpReLU)
    torch.testing.assert_close(frozen.threshold, 0.7 / scale)
    assert torch.equal(activation.select(pre, scale).mask(), frozen.select(pre, scale))


def test_the_threshold_is_saved():
    assert "threshold" in BatchTopK(3).state_dict()
