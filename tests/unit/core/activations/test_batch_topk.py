import pytest
import torch

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.jumprelu import JumpReLU


@pytest.fixture
def pre() -> torch.Tensor:
    return torch.randn(40, 30)


@pytest.fixture
def scale() -> torch.Tensor:
    return torch.rand(30) + 0.2


def test_training_selects_the_k_times_batch_largest_scores(pre, scale):
    index = BatchTopK(3).train().select(pre, scale)
    v = pre.relu() * scale
    assert set(zip(index.rows.tolist(), index.latents.tolist(), strict=True)) == {
        divmod(position, 30) for position in v.flatten().topk(3 * 40).indices.tolist()
    }


def test_the_threshold_follows_the_smallest_selected_score(pre, scale):
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


def test_inference_before_training_selects_all_positive_scores(pre, scale):
    index = BatchTopK(3).eval().select(pre, scale)
    assert len(index.rows) == int((pre > 0).sum())


def test_a_batch_without_positive_scores_leaves_the_threshold(scale):
    activation = BatchTopK(3).train()
    activation.threshold.fill_(0.7)
    assert len(activation.select(-torch.ones(4, 30), scale).rows) == 0
    assert float(activation.threshold) == pytest.approx(0.7)


def test_its_inference_activation_is_a_jumprelu_with_the_same_selection(pre, scale):
    activation = BatchTopK(3).eval()
    activation.threshold.fill_(0.7)
    frozen = activation.to_inference(scale)
    assert isinstance(frozen, JumpReLU)
    torch.testing.assert_close(frozen.threshold, 0.7 / scale)
    assert torch.equal(activation.select(pre, scale).mask(), frozen.select(pre, scale))


def test_the_threshold_is_saved():
    assert "threshold" in BatchTopK(3).state_dict()
