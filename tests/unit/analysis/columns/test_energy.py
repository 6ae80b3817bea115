"""Energy columns against their definitions; the exact terms add up to the whole."""

import pytest
import torch

from crosscoder.core.types import Kind
from tests.unit.analysis.analysed import Analysed, analysed


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Analysed:
    return analysed(tmp_path_factory.mktemp("store"))


def raw(small: Analysed, streams: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return chat − base in raw units."""
    mean, scale = (
        small.crosscoder.sources.split(part.double())
        for part in (small.crosscoder.mean, small.crosscoder.scale)
    )
    return (streams["chat"] * scale["chat"] + mean["chat"]) - (
        streams["base"] * scale["base"] + mean["base"]
    )


def delta(small: Analysed) -> torch.Tensor:
    return (small.crosscoder.decoder("chat") - small.crosscoder.decoder("base")).detach().double()


def test_energy_and_its_fraction_on_all_tokens_and_by_kind(small):
    table = small.table()
    x = raw(small, small.x)
    alone = small.f.square() * delta(small).square().sum(1)
    torch.testing.assert_close(
        torch.from_numpy(table["difference_energy"]), alone.mean(0), rtol=1e-5, atol=1e-8
    )
    share = alone.mean(0) / x.square().sum(1).mean()
    torch.testing.assert_close(
        torch.from_numpy(table["difference_share"]), share, rtol=1e-5, atol=1e-8
    )
    for number, kind in ((Kind.CHAT, "chat"), (Kind.TEMPLATE, "template")):
        rows = small.kind == number
        share = alone[rows].mean(0) / x[rows].square().sum(1).mean()
        torch.testing.assert_close(
            torch.from_numpy(table[f"difference_share/{kind}"]), share, rtol=1e-5, atol=1e-8
        )


def test_cross_terms_and_explained_terms_of_every_latent(small):
    table = small.table()
    x = raw(small, small.x)
    recon = raw(small, small.recon)
    total = x.square().sum()
    for latent in range(40):
        written = small.f[:, latent, None] * delta(small)[latent]
        assert table["difference_cross"][latent] == pytest.approx(
            float((written * (recon - written)).sum() / total), abs=1e-5
        )
        assert table["difference_explained"][latent] == pytest.approx(
            float((written * (2 * x - recon)).sum() / total), abs=1e-5
        )


def test_the_explained_difference_is_divided_exactly(small):
    table = small.table()
    x = raw(small, small.x)
    recon = raw(small, small.recon)
    parts = table.meta["difference"]
    assert parts["difference/explained"] == pytest.approx(
        float(1 - (x - recon).square().sum() / x.square().sum()), abs=1e-6
    )
    both = parts["difference/explained_by_latents"] + parts["difference/explained_by_bias"]
    assert both == pytest.approx(parts["difference/explained"], abs=1e-5)
    assert parts["difference/explained_by_latents"] == pytest.approx(
        float(table["difference_explained"].sum()), abs=1e-6
    )
