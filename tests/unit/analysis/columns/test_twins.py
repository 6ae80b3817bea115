"""Twins and max_cross_cosine against loops over all pairs of latents."""

import numpy as np
import pytest
import torch

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.columns.twins import Twins
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, store_of


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    crosscoder = crosscoder_of(TopK(6), n_latents=30)
    with torch.no_grad():
        crosscoder.W_dec[:12, :6] *= 0.01  # chat-only
        crosscoder.W_dec[12:20, 6:] *= 0.01  # base-only
        for i in range(5):  # these write the directions of chat-only latents
            crosscoder.W_dec[12 + i, :6] = crosscoder.W_dec[i, 6:] * (1 + i) + 0.01 * torch.randn(6)
    store = store_of(
        tmp_path_factory.mktemp("store"),
        {"base": torch.randn(500, 6), "chat": torch.randn(500, 6)},
        [200, 300],
    )
    folded = crosscoder.fold()
    code = (
        folded.encode(
            torch.cat([store.acts(shard, ["base", "chat"]) for shard in store])
        ).to_dense()
        > 0
    )
    return folded, Analysis(n_resamples=5, batch_size=64).make_table(folded, store), code


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=0))


def test_twins_are_the_most_alike_exclusive_pair_and_their_cofiring(analysed):
    crosscoder, table, active = analysed
    chat = crosscoder.decoder("chat").detach()
    base = crosscoder.decoder("base").detach()
    for latent in range(12):
        partners = {other: cosine(chat[latent], base[other]) for other in range(12, 20)}
        best = max(partners, key=partners.get)  # type: ignore[arg-type]
        if partners[best] <= 0.9:
            assert table["twin"][latent] == -1
            assert np.isnan(table["twin_cofiring"][latent])
            continue
        assert table["twin"][latent] == best
        assert table["twin_cosine"][latent] == pytest.approx(partners[best], abs=1e-5)
        both = active[:, [latent, best]].all(1).sum()
        either = active[:, [latent, best]].any(1).sum()
        assert table["twin_cofiring"][latent] == pytest.approx(float(both / either), abs=1e-6)
    assert (table["twin"][:5] >= 12).all()
    assert (table["twin"][20:] == -1).all()


def test_max_cross_cosine_is_the_largest_with_another_latent_s_other_decoder(
    analysed,
):
    crosscoder, table, _ = analysed
    chat = crosscoder.decoder("chat").detach()
    base = crosscoder.decoder("base").detach()
    for latent in range(20):
        here, there = (chat, base) if latent < 12 else (base, chat)
        expected = max(cosine(here[latent], there[other]) for other in range(30) if other != latent)
        assert table["max_cross_cosine"][latent] == pytest.approx(expected, abs=1e-5)
    leaning = np.abs(table["delta_norm"] - 0.5) > 0.2
    np.testing.assert_array_equal(np.isnan(table["max_cross_cosine"]), ~leaning)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lean": 0.6}, "lean is a number from 0 to 0.5, not 0.6"),
        ({"exclusive": 0.4}, "exclusive is a number from 0.5 to 1, not 0.4"),
        ({"cosine": 2.0}, "cosine is a number from -1 to 1, not 2.0"),
    ],
)
def test_a_threshold_out_of_range_is_refused(settings, message):
    with pytest.raises(UserError, match=f"^column.twins.{message}$"):
        Twins(**settings)
