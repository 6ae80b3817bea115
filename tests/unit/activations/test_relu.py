import torch

from crosscoder.activations.relu import ReLU


def test_relu():
    pre = torch.tensor([[-1.0, 0.0, 2.0]])
    assert ReLU()(pre).tolist() == [[0.0, 0.0, 2.0]]
