import numpy as np
import pytest
import torch

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.support.baselines import (
    match_latents,
    remove_mean_difference,
    remove_probe,
    select_last_tokens,
)
from tests.unit.evals.behaviours import CHOOSE


def test_matched_latents_are_others_of_the_same_density_and_norm():
    rng = np.random.default_rng(0)
    density = 10 ** rng.uniform(-4, -0.5, 1000)
    columns = {
        "density": density,
        "norm/chat": 10 ** rng.uniform(-1, 1, 1000),
        "dead": density < 2e-4,
    }
    table = LatentTable.from_columns(columns, {})
    latents = [int(latent) for latent in np.argsort(density)[-300::40]]
    matches = match_latents(table, latents, seed=1)
    assert len(set(matches)) == len(latents)
    assert not set(matches) & set(latents)
    assert not columns["dead"][matches].any()
    for name in ("density", "norm/chat"):
        assert np.abs(np.log10(columns[name][matches] / columns[name][latents])).max() < 0.6
    assert match_latents(table, latents, seed=1) == matches


def test_the_mean_difference_is_gone_from_where_it_was_measured(context, tiny_pair):
    a, b = select_last_tokens(CHOOSE.read(context.crosscoder, tiny_pair))
    assert a.shape == b.shape == (24, 64)
    moved = remove_mean_difference(context.crosscoder, a, b)(a)
    torch.testing.assert_close(moved.mean(0), b.mean(0), atol=1e-4, rtol=1e-3)


@pytest.fixture
def separated(context) -> tuple[torch.Tensor, torch.Tensor]:
    """Two kinds of activations that differ in one direction of each source alone."""
    d_total = context.crosscoder.sources.d_total
    noise = torch.randn(400, d_total, generator=torch.Generator().manual_seed(0))
    for part in context.crosscoder.sources.split(torch.arange(d_total)).values():
        noise[:200, part[3]] += 6.0
    return noise[:200], noise[200:]


def test_a_probe_is_removed_along_the_direction_in_which_two_kinds_differ(context, separated):
    a, b = separated
    sources = context.crosscoder.sources
    both = torch.cat([a, b])
    moved = remove_probe(context.crosscoder, a, b)(both)
    before = sources.split(both)
    means = sources.split(b.mean(0))
    for name, after in sources.split(moved).items():
        change = after - before[name]
        direction = change.mean(0) / change.mean(0).norm()
        assert direction[3].abs() > 0.8  # the rest is noise that a regression fits
        along = change @ direction
        torch.testing.assert_close(change, along[:, None] * direction, atol=1e-4, rtol=1e-3)
        # nothing is left along it: every activation lies where the mean of the second kind does
        expected = (means[name] @ direction).expand(len(both))
        torch.testing.assert_close(after @ direction, expected, atol=1e-4, rtol=1e-3)
