"""A forward pass in float64, as a loss term sees it."""

from collections.abc import Callable

import pytest
import torch

from crosscoder.activations.topk import TopK
from crosscoder.losses import LossInput
from crosscoder.model import Crosscoder
from tests.small import crosscoder_of, random_acts

BATCH, WIDTHS, N_LATENTS = 30, (5, 7), 24


@pytest.fixture
def crosscoder() -> Crosscoder:
    return crosscoder_of(TopK(4), WIDTHS, N_LATENTS, dtype="float64")


@pytest.fixture
def given(crosscoder: Crosscoder) -> Callable[..., LossInput]:
    """`given(dead=[3, 5], progress=0.5)`: what a term is given, with these latents dead."""

    def make(dead: list[int] = (), progress: float = 1.0) -> LossInput:
        acts = random_acts(BATCH, sum(WIDTHS), dtype=torch.float64)
        mask = torch.zeros(N_LATENTS, dtype=torch.bool)
        mask[list(dead)] = True
        return LossInput(acts, crosscoder(acts), crosscoder, mask, progress, torch.mean)

    return make
