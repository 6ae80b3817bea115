import pytest
import torch

from crosscoder.activations.topk import TopK


def active(activation: TopK, pre: list[list[float]], scale: list[float]) -> list[list[int]]:
    index = activation.select(torch.tensor(pre), torch.tensor(scale))
    return [index.latents[index.rows == row].tolist() for row in range(len(pre))]


def test_selection_weighs_pre_activations_by_the_scale():
    assert active(TopK(1), [[3.0, 2.0, 1.0]], [1.0, 1.0, 1.0]) == [[0]]
    assert active(TopK(1), [[3.0, 2.0, 1.0]], [1.0, 2.0, 1.0]) == [[1]]


def test_only_positive_pre_activations_are_active():
    assert active(TopK(2), [[-3.0, 2.0, -1.0], [0.0, 0.0, 0.0]], [1.0, 1.0, 1.0]) == [[1], []]


def test_inference_selects_as_training_does():
    pre, scale = torch.randn(50, 20), torch.rand(20) + 0.1
    topk = TopK(3)
    trained, used = topk.train().select(pre, scale), topk.eval().select(pre, scale)
    assert torch.equal(trained.latents, used.latents)
    assert torch.equal(trained.rows, used.rows)


@pytest.mark.parametrize(("progress", "k"), [(0.0, 20), (0.1, 16), (0.25, 10), (0.4, 4), (1.0, 4)])
def test_k_falls_linearly_over_the_annealed_fraction(progress, k):
    topk = TopK(k=4, start=5, anneal=0.4)
    topk.at(progress)
    assert topk.k_now == k


def test_without_annealing_k_is_k():
    topk = TopK(k=4)
    topk.at(0.0)
    assert topk.k_now == 4


def test_annealing_is_part_of_the_state():
    topk = TopK(k=4, start=5, anneal=0.4)
    topk.at(0.2)
    other = TopK(k=4, start=5, anneal=0.4)
    other.load_state_dict(topk.state_dict())
    assert other.k_now == topk.k_now == 12
