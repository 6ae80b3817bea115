"""One encoder, and a code per source."""

import pytest
import torch

from crosscoder.constraints.decoupled import Decoupled
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts

N, WIDTHS, K = 8, (5, 7), 5  # latents
SLICES = {"base": slice(0, 5), "chat": slice(5, 12)}


def decoupled(activation) -> Crosscoder:
    """After a step that pulled its rows apart."""
    crosscoder = crosscoder_of(activation, WIDTHS, 2 * N)
    Decoupled().begin(crosscoder)
    with torch.no_grad():
        for weight in (crosscoder.W_dec, crosscoder.W_enc, crosscoder.b_enc):
            weight.add_(torch.randn(weight.shape))
    Decoupled().project(crosscoder)
    return crosscoder


def latents(crosscoder: Crosscoder) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Return the N encoders, their biases, and d_j^s by source."""
    W_dec = crosscoder.W_dec.detach()
    d = {"base": W_dec[:N, SLICES["base"]], "chat": W_dec[N:, SLICES["chat"]]}
    return crosscoder.W_enc.detach()[:N], crosscoder.b_enc.detach()[:N], d


def codes(crosscoder: Crosscoder, x: torch.Tensor, k: int) -> dict[str, list[float]]:
    """Compute f_j^s = pre_j where relu(pre_j) · ‖d_j^s‖ is among the k largest of all rows."""
    W_enc, b_enc, d = latents(crosscoder)
    pre = [float(W_enc[j] @ x + b_enc[j]) for j in range(N)]
    v = {(s, j): max(0.0, pre[j]) * float(d[s][j].norm()) for s in d for j in range(N)}
    kept = {place for place in sorted(v, key=lambda place: -v[place])[:k] if v[place] > 0}
    return {s: [pre[j] if (s, j) in kept else 0.0 for j in range(N)] for s in d}


@pytest.mark.parametrize(("activation", "k"), [(TopK(K), K), (ReLU(), 2 * N)], ids=["topk", "relu"])
def test_every_source_is_decoded_from_its_own_code(activation, k):
    crosscoder, acts = decoupled(activation), random_acts(30, 12)
    code = crosscoder.encode(acts)
    _, _, d = latents(crosscoder)
    differ = 0
    for t, x in enumerate(acts):
        f = codes(crosscoder, x, k)
        differ += f["base"] != f["chat"]
        torch.testing.assert_close(code.to_dense()[t].detach(), torch.tensor(f["base"] + f["chat"]))
        for source, part in SLICES.items():
            expected = crosscoder.b_dec.detach()[part] + sum(
                f[source][j] * d[source][j] for j in range(N)
            )
            torch.testing.assert_close(
                crosscoder.decode(code, source)[t].detach(), expected, atol=1e-5, rtol=1e-5
            )
    assert (differ > 20) == isinstance(
        activation, TopK
    )  # where all that is positive is active, sources agree


def test_both_rows_of_a_latent_share_the_encoder_and_each_writes_one_source():
    crosscoder = crosscoder_of(TopK(K), WIDTHS, 2 * N)
    before = {name: weight.detach().clone() for name, weight in crosscoder.named_parameters()}
    Decoupled().project(crosscoder)
    for name, weight in (("W_enc", crosscoder.W_enc), ("b_enc", crosscoder.b_enc)):
        mean = (before[name][:N] + before[name][N:]) / 2
        torch.testing.assert_close(weight[:N], mean)
        assert torch.equal(weight[:N], weight[N:])
    assert torch.equal(crosscoder.decoder("base")[:N], before["W_dec"][:N, SLICES["base"]])
    assert torch.equal(crosscoder.decoder("chat")[N:], before["W_dec"][N:, SLICES["chat"]])
    assert crosscoder.decoder("chat")[:N].eq(0).all()
    assert crosscoder.decoder("base")[N:].eq(0).all()


def test_rows_are_one_latent_also_when_folded():
    crosscoder = decoupled(TopK(K))
    assert crosscoder.groups.tolist() == [*range(N)] * 2
    assert crosscoder.fold().groups.tolist() == [*range(N)] * 2


def test_each_of_three_sources_has_its_rows():
    crosscoder = crosscoder_of(TopK(K), (3, 4, 5), 12)
    Decoupled().begin(crosscoder)
    Decoupled().project(crosscoder)
    assert crosscoder.groups.tolist() == [0, 1, 2, 3] * 3
    written = [
        [bool(crosscoder.decoder(s)[row].any()) for s in ("base", "chat", "third")]
        for row in range(12)
    ]
    assert (
        written
        == [[True, False, False]] * 4 + [[False, True, False]] * 4 + [[False, False, True]] * 4
    )
    assert torch.equal(crosscoder.W_enc[:4], crosscoder.W_enc[8:])


def test_penalties_are_unchanged():
    assert Decoupled().penalty(crosscoder_of(TopK(K), WIDTHS, 2 * N)).tolist() == [1.0] * 2 * N


@pytest.mark.parametrize(("widths", "n_latents"), [((5, 7), 25), ((3, 4, 5), 25)])
def test_a_dictionary_that_cannot_be_divided_among_sources_is_refused(widths, n_latents):
    with pytest.raises(
        UserError, match=f"decoupled crosscoder .*n_latents=25 is not a multiple of {len(widths)}"
    ):
        Decoupled().begin(crosscoder_of(TopK(K), widths, n_latents))
