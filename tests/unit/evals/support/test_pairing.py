"""Partners in another crosscoder, and what the latents without a partner span."""

import numpy as np
import pytest
import torch

from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.evals.support.pairing import Pairing, Side
from tests.helpers.small import crosscoder_of

N_LATENTS = 16
WIDTHS = (8, 8)
SCALE = torch.linspace(0.5, 3, 16)
NAMES = ["shared", "chat-specific", "dead"]


def side_of(decoders: torch.Tensor, verdicts: list[str]) -> Side:
    crosscoder = crosscoder_of(TopK(3), WIDTHS, len(decoders))
    crosscoder.W_dec.data = decoders.clone()
    crosscoder.set_units(torch.zeros(16), SCALE)
    dead = np.array([name == "dead" for name in verdicts])
    return Side(crosscoder, LatentTable.from_columns({"verdict": verdicts, "dead": dead}, {}))


@pytest.fixture
def decoders() -> torch.Tensor:
    """Orthogonal ones in training units, so that no other latent is similar."""
    random = torch.randn(N_LATENTS, N_LATENTS, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(random)[0] * SCALE


@pytest.fixture
def verdicts() -> list[str]:
    return [NAMES[latent % 3] for latent in range(N_LATENTS)]


def test_a_permuted_crosscoder_has_every_latent(decoders, verdicts):
    order = torch.randperm(N_LATENTS, generator=torch.Generator().manual_seed(0))
    own = side_of(decoders, verdicts)
    other = side_of(decoders[order], [verdicts[i] for i in order])
    pairing = Pairing.match(own, other, found=0.999)
    np.testing.assert_allclose(pairing.cosines, 1, atol=1e-5)
    assert order[torch.from_numpy(pairing.partners)].tolist() == list(range(N_LATENTS))
    assert not pairing.is_unmatched.any()
    assert not pairing.is_unmatched_there.any()
    assert pairing.compare_subspaces("shared", 0.9, np.random.default_rng(0)) is None


def test_latents_that_are_another_basis_of_a_subspace_overlap_wholly(decoders, verdicts):
    """Four chat-specific latents span another basis of the same subspace; the others are equal."""
    own = side_of(decoders, verdicts)
    changed = [latent for latent in range(N_LATENTS) if verdicts[latent] == "chat-specific"][:4]
    # no latent of a random basis has a cosine above 0.9 with one of the other basis
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))[0]
    rotated = decoders.clone()
    rotated[changed] = turn @ decoders[changed]
    pairing = Pairing.match(own, side_of(rotated, verdicts), found=0.95)
    assert np.flatnonzero(pairing.is_unmatched).tolist() == changed
    assert np.flatnonzero(pairing.is_unmatched_there).tolist() == changed
    found = pairing.compare_subspaces("chat-specific", 1.0, np.random.default_rng(0))
    assert found is not None
    assert found["unmatched here"] == found["unmatched there"] == found["dimensions here"] == 4
    assert found["cos²"] == pytest.approx(1, abs=1e-6)
    assert found["cos² of random subspaces"] == 4 / 16
    assert found["cos² of random latents"] < 0.9
    assert pairing.compare_subspaces("shared", 1.0, np.random.default_rng(0)) is None
    everything = pairing.compare_subspaces("all", 1.0, np.random.default_rng(0))
    assert everything is not None
    assert everything["unmatched here"] == 4


def test_dead_latents_belong_to_no_class(decoders, verdicts):
    classes = side_of(decoders, verdicts).select_classes()
    assert list(classes) == ["all", "chat-specific", "shared"]
    assert classes["all"].sum() == 11
