"""One decoder and three codes, against the paper's formula."""

import pytest
import torch

from crosscoder.constraints.tied import Tied
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from crosscoder.losses import LossContext
from crosscoder.losses.l1 import L1
from tests.helpers.small import crosscoder_of, random_acts, sources_of

N, WIDTHS = 6, (5, 7)  # decoders


def tied(activation=None) -> Crosscoder:
    """After a step that pulled its rows apart."""
    crosscoder = crosscoder_of(activation or TopK(4), WIDTHS, 3 * N)
    Tied().begin(crosscoder)
    with torch.no_grad():
        crosscoder.W_dec += torch.randn(3 * N, 12)
    Tied().project(crosscoder)
    return crosscoder


def decoders(crosscoder: Crosscoder) -> dict[str, torch.Tensor]:
    """d_i^b and d_i^c: the rows that both models use."""
    W_dec = crosscoder.W_dec.detach()
    return {"base": W_dec[:N, :5], "chat": W_dec[:N, 5:]}


def codes(f: torch.Tensor) -> dict[str, torch.Tensor]:
    """f^S, f^b and f^c."""
    return dict(zip(("shared", "base", "chat"), f.detach().split(N, dim=1), strict=True))


@pytest.mark.parametrize("activation", [TopK(4), ReLU()], ids=["topk", "relu"])
def test_what_is_decoded_is_the_papers_formula(activation):
    crosscoder, acts = tied(activation), random_acts(30, 12)
    code = crosscoder.encode(acts)
    f, biases = codes(code.to_dense()), crosscoder.sources.split(crosscoder.b_dec.detach())
    assert all(part.any() for part in f.values())
    for source, d in decoders(crosscoder).items():
        for t, recon in enumerate(crosscoder.decode(code, source).detach()):
            expected = biases[source] + sum(
                (f["shared"][t, i] + f[source][t, i]) * d[i] for i in range(N)
            )
            torch.testing.assert_close(recon, expected, atol=1e-5, rtol=1e-5)


def test_decoders_are_what_both_rows_have_in_common():
    crosscoder = crosscoder_of(TopK(4), WIDTHS, 3 * N)
    before = crosscoder.W_dec.detach().clone()
    Tied().project(crosscoder)
    d = decoders(crosscoder)
    torch.testing.assert_close(d["base"], (before[:N, :5] + before[N : 2 * N, :5]) / 2)
    torch.testing.assert_close(d["chat"], (before[:N, 5:] + before[2 * N :, 5:]) / 2)
    assert torch.equal(crosscoder.decoder("base")[N : 2 * N], d["base"])
    assert torch.equal(crosscoder.decoder("chat")[2 * N :], d["chat"])
    assert crosscoder.decoder("chat")[N : 2 * N].eq(0).all()
    assert crosscoder.decoder("base")[2 * N :].eq(0).all()


def test_every_code_keeps_its_own_encoder():
    crosscoder = crosscoder_of(TopK(4), WIDTHS, 3 * N)
    before = crosscoder.W_enc.detach().clone(), crosscoder.b_enc.detach().clone()
    Tied().project(crosscoder)
    assert torch.equal(crosscoder.W_enc, before[0])
    assert torch.equal(crosscoder.b_enc, before[1])


def test_three_rows_are_one_latent_also_when_folded():
    crosscoder = tied()
    assert crosscoder.groups.tolist() == [*range(N)] * 3
    assert crosscoder.fold().groups.tolist() == [*range(N)] * 3


@pytest.mark.parametrize("eta", [0.0, 1.5, 4.0])
def test_the_penalty_is_the_papers(eta):
    crosscoder, acts = tied(ReLU()), random_acts(30, 12)
    dead = torch.zeros(3 * N, dtype=torch.bool)
    ctx = LossContext(
        acts, crosscoder(acts), crosscoder, dead, 1.0, torch.mean, Tied(eta).penalty(crosscoder)
    )
    f, d = codes(ctx.output.code.to_dense()), decoders(crosscoder)
    expected = 0.0
    for t in range(30):
        for i in range(N):
            base, chat = float(d["base"][i].norm()), float(d["chat"][i].norm())
            expected += float(f["shared"][t, i]) * (base + chat) / 30
            expected += eta * (float(f["base"][t, i]) * base + float(f["chat"][t, i]) * chat) / 30
    assert L1()(ctx).item() == pytest.approx(expected, rel=1e-5)


def test_sources_may_have_any_order():
    crosscoder = crosscoder_of(TopK(4), WIDTHS, 3 * N)
    crosscoder.sources = Sources(crosscoder.sources.items, diff_pair=("base", "chat"))
    Tied().begin(crosscoder)
    Tied().project(crosscoder)
    assert crosscoder.decoder("base")[N : 2 * N].eq(0).all()  # base is now the finetuned one
    assert crosscoder.decoder("chat")[2 * N :].eq(0).all()


def test_a_dictionary_that_cannot_be_divided_by_three_is_refused():
    with pytest.raises(UserError, match=r"tied crosscoder .*n_latents=20 is not a multiple of 3"):
        Tied().begin(crosscoder_of(TopK(4), WIDTHS, 20))


@pytest.mark.parametrize(
    "sources",
    [sources_of(12), sources_of(4, 4, 4), Sources(sources_of(5, 7).items)],
    ids=["one", "three", "not compared"],
)
def test_it_needs_exactly_two_compared_sources(sources):
    crosscoder = crosscoder_of(TopK(4), WIDTHS, 3 * N)
    crosscoder.sources = sources
    with pytest.raises(UserError, match="two sources, which are compared"):
        Tied().begin(crosscoder)


def test_a_negative_eta_is_refused():
    with pytest.raises(UserError, match=r"tied.eta is a number from 0, not -1"):
        Tied(eta=-1.0).begin(crosscoder_of(TopK(4), WIDTHS, 3 * N))
