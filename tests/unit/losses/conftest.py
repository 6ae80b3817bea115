"""Forward passes in float64, as contexts of loss terms."""

from collections.abc import Callable

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.losses import LossContext
from tests.helpers.small import crosscoder_of, random_acts

BATCH, WIDTHS, N_LATENTS = 30, (5, 7), 24


@pytest.fixture
def crosscoder() -> Crosscoder:
    return crosscoder_of(TopK(4), WIDTHS, N_LATENTS, dtype="float64")


@pytest.fixture
def make_ctx(crosscoder: Crosscoder) -> Callable[..., LossContext]:
    """`make_ctx(dead=[3, 5], progress=0.5)`: context of a loss term with these latents dead."""

    def make(dead: list[int] = (), progress: float = 1.0) -> LossContext:
        acts = random_acts(BATCH, sum(WIDTHS), dtype=torch.float64)
        mask = torch.zeros(N_LATENTS, dtype=torch.bool)
        mask[list(dead)] = True
        return LossContext(acts, crosscoder(acts), crosscoder, mask, progress, torch.mean)

    return make
