import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from crosscoder.lm import Pair


@pytest.fixture(scope="session")
def model(tiny_pair: Pair) -> PreTrainedModel:
    """Return a random two-layer Gemma 3."""
    return tiny_pair["chat"]


@pytest.fixture
def ids() -> Tensor:
    """Return two sequences of ten tokens, BOS first."""
    drawn = torch.randint(6, 200, (2, 10))
    drawn[:, 0] = 2
    return drawn


@pytest.fixture
def positions() -> Tensor:
    return torch.arange(10).expand(2, 10)
