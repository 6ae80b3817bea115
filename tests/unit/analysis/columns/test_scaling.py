"""Closed-form latent scaling of all latents against least squares in float64, one by one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscoder.analysis.base import TableContext, encode_store
from crosscoder.analysis.columns.scaling import TARGETS, Scaling
from tests.unit.analysis.analysed import Analysed, analysed

MODELS = ("chat", "base")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Analysed:
    return analysed(tmp_path_factory.mktemp("store"))


def target(small: Analysed, name: str, latent: int, model: str) -> Tensor:
    x = small.x[model]
    recon = small.recon[model]
    f = small.f[:, latent]
    own = f[:, None] * small.decoders[model][latent]
    return {"activation": x, "reconstruction": recon, "error": x - (recon - own)}[name]


def least_squares(small: Analysed, name: str, latent: int, direction: str, model: str) -> float:
    """Return argmin_β Σ ‖β f d − y‖² from a solver."""
    written = small.f[:, latent, None] * small.decoders[direction][latent]
    return float(
        torch.linalg.lstsq(
            written.reshape(-1, 1), target(small, name, latent, model).reshape(-1, 1)
        ).solution
    )


@pytest.mark.parametrize("name", TARGETS)
def test_every_beta_is_the_least_squares_solution(small, name):
    table = small.table()
    for direction in MODELS:
        for model in MODELS:
            beta = table[f"beta/{name}/{direction}/{model}"]
            for latent in table["latent"][~table["dead"]]:
                assert beta[latent] == pytest.approx(
                    least_squares(small, name, latent, direction, model), abs=1e-4
                )


@pytest.mark.parametrize("name", TARGETS)
def test_nu_is_the_ratio_of_the_other_model_s_beta_to_the_own_one(small, name):
    table = small.table()
    for own, other in (MODELS, MODELS[::-1]):
        ratio = table[f"beta/{name}/{own}/{other}"] / table[f"beta/{name}/{own}/{own}"]
        np.testing.assert_allclose(table[f"nu/{name}/{own}"], ratio)


def test_dead_latents_have_no_scaling(small):
    table = small.table()
    assert table["dead"][:3].all()
    assert np.array_equal(np.isnan(table["nu/error/chat"]), table["dead"])


@pytest.mark.parametrize("batch_size", [7, 100, 1000])
def test_neither_batches_nor_blocks_change_the_estimate(small, batch_size):
    one = small.table()
    other = small.table(batch_size=batch_size, n_blocks=3)
    np.testing.assert_allclose(one["nu/error/chat"], other["nu/error/chat"], rtol=1e-3, atol=1e-5)


def test_the_interval_is_of_resampled_blocks(small):
    """The bootstrap written out for one latent.

    Blocks are consecutive tokens; each resample draws as many blocks as there are.
    """
    n_blocks = 8
    n_resamples = 50
    latent = 11
    context = TableContext(
        small.crosscoder, len(small.f), n_blocks=n_blocks, n_resamples=n_resamples, seed=5
    )
    scaling = Scaling().start(context)
    with torch.no_grad():
        for batch in encode_store(small.crosscoder, small.store, 64):
            scaling.update(batch)
    columns = scaling.columns()
    drawn = torch.randint(
        n_blocks, (n_resamples, n_blocks), generator=torch.Generator().manual_seed(5)
    )
    block = torch.arange(len(small.f)) * n_blocks // len(small.f)
    replicates = []
    for blocks in drawn:
        rows = torch.cat([(block == b).nonzero()[:, 0] for b in blocks.tolist()])
        f = small.f[rows, latent]
        d = small.decoders["chat"][latent]
        tops = [
            float((f[:, None] * target(small, "error", latent, m)[rows] @ d).sum())
            for m in ("base", "chat")
        ]
        replicates.append(tops[0] / tops[1] if f.any() else float("nan"))
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    assert columns["nu/error/chat/low"][latent] == pytest.approx(low, rel=1e-3)
    assert columns["nu/error/chat/high"][latent] == pytest.approx(high, rel=1e-3)


def test_the_supported_norm_is_the_decoder_s_norm_times_its_beta(small):
    columns = small.table()
    beta = columns["beta/error/base/base"]
    assert (columns["norm/base"] > 0).all()
    expected = np.linalg.norm(small.decoders["base"].numpy(), axis=1) * np.clip(beta, 0, None)
    np.testing.assert_allclose(columns["supported/base"], expected, rtol=1e-5)
    assert (columns["supported/base"] == 0).any()
