"""Gates and values of one latent, against a loop over every entry in float64."""

import math

import pytest
import torch
from torch import Tensor

from crosscoder.core.activations import from_spec
from crosscoder.core.activations.gated import Gated
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import Index
from tests.helpers.small import crosscoder_of, random_acts

BATCH, N_LATENTS = 40, 6
MEAN, SCALE = torch.linspace(-3, 3, 12).double(), torch.tensor([0.5] * 5 + [4.0] * 7).double()


def scattered(gated: Gated) -> Gated:
    """With gains of all sizes and shifts of both signs."""
    with torch.no_grad():
        gated.log_gain.copy_(0.5 * torch.randn(len(gated.shift)))
        gated.shift.copy_(torch.linspace(-1, 1, len(gated.shift)))
    return gated.double()


@pytest.fixture
def gated() -> Gated:
    return scattered(Gated(N_LATENTS))


@pytest.fixture
def pre() -> Tensor:
    return torch.randn(BATCH, N_LATENTS, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def crosscoder() -> Crosscoder:
    made = crosscoder_of(Gated(24), (5, 7), dtype="float64")
    scattered(made.activation)
    made.set_units(MEAN, SCALE)
    return made


def plain(pre: Tensor, log_gain: Tensor, shift: Tensor) -> list[list[Tensor]]:
    """Compute the two lines of the definition, one entry at a time."""
    zero = torch.zeros((), dtype=torch.float64)
    return [
        [
            torch.maximum(torch.exp(log_gain[j]) * row[j] + shift[j], zero) if row[j] > 0 else zero
            for j in range(len(row))
        ]
        for row in pre
    ]


def test_values_are_those_of_the_definition(gated, pre):
    values = gated.compute_values(pre)
    expected = torch.tensor(
        plain(pre.detach(), gated.log_gain.detach(), gated.shift.detach()), dtype=torch.float64
    )
    gates = pre > 0
    assert (gates & (expected == 0)).any()  # open, but without a value
    torch.testing.assert_close(values.detach(), expected)


def test_with_closed_gates_a_shift_gives_no_value():
    gated = Gated(2)
    with torch.no_grad():
        gated.shift.fill_(5.0)
    assert gated.compute_values(torch.tensor([[-0.1, 0.1]])).tolist() == [[0, pytest.approx(5.1)]]


def test_gradients_are_those_of_the_plain_formula(gated, pre):
    above = torch.randn(BATCH, N_LATENTS, dtype=torch.float64)
    wanted = [gated.log_gain, gated.shift, pre]
    rows = plain(pre, gated.log_gain, gated.shift)
    loss = sum(above[t, j] * value for t, row in enumerate(rows) for j, value in enumerate(row))
    expected = torch.autograd.grad(loss, wanted)
    found = torch.autograd.grad((above * gated.compute_values(pre)).sum(), wanted)
    assert all(gradient.ne(0).any() for gradient in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_index_holds_the_entries_with_a_value(gated, pre):
    chosen = gated.select(pre.detach(), torch.ones(N_LATENTS, dtype=torch.float64))
    mask = chosen.mask() if isinstance(chosen, Index) else chosen
    expected = plain(pre.detach(), gated.log_gain.detach(), gated.shift.detach())
    assert mask.tolist() == [[bool(value > 0) for value in row] for row in expected]


def test_folded_it_is_a_jumprelu_with_the_same_code_of_raw_activations(crosscoder):
    acts = random_acts(40, 12, dtype=torch.float64)
    pre = (acts @ crosscoder.W_enc.T + crosscoder.b_enc).detach()
    gain, shift = crosscoder.activation.log_gain.tolist(), crosscoder.activation.shift.tolist()
    f = torch.zeros_like(pre)
    for t, row in enumerate(pre.tolist()):
        for j, gate in enumerate(row):
            f[t, j] = max(math.exp(gain[j]) * gate + shift[j], 0.0) if gate > 0 else 0.0
    folded = crosscoder.fold()
    code = folded.encode(acts * SCALE + MEAN)
    for sign in (-1, 1):
        assert (f > 0)[:, crosscoder.activation.shift.sign() == sign].any()
    assert isinstance(folded.activation, JumpReLU)
    assert torch.equal(code.to_dense() > 0, f > 0)
    torch.testing.assert_close(code.to_dense(), f, atol=1e-5, rtol=1e-5)
    recon = (f @ crosscoder.W_dec + crosscoder.b_dec) * SCALE + MEAN
    torch.testing.assert_close(folded.decode(code), recon, atol=1e-4, rtol=1e-5)


def test_folding_keeps_a_closed_gate_with_a_large_value_closed(crosscoder):
    with torch.no_grad():
        crosscoder.W_enc.zero_()
        crosscoder.b_enc.fill_(-1e-3)
        crosscoder.activation.shift.fill_(5.0)
    raw = random_acts(3, 12, dtype=torch.float64)
    assert crosscoder.fold().encode(raw).l0().tolist() == [0, 0, 0]
    with torch.no_grad():
        crosscoder.b_enc.fill_(1e-3)
    assert crosscoder.fold().encode(raw).l0().tolist() == [24, 24, 24]


def test_folding_leaves_the_encoder_unchanged(crosscoder):
    before = crosscoder.W_enc.detach().clone(), crosscoder.b_enc.detach().clone()
    crosscoder.fold()
    assert torch.equal(crosscoder.W_enc, before[0])
    assert torch.equal(crosscoder.b_enc, before[1])


def test_a_saved_gated_crosscoder_is_loaded(tmp_path):
    crosscoder = crosscoder_of(Gated(24), (5, 7))
    crosscoder.set_units(MEAN.float(), SCALE.float())
    raw = random_acts(40, 12) * SCALE.float() + MEAN.float()
    loaded = Crosscoder.from_pretrained(crosscoder.save_pretrained(tmp_path / "gated"))
    assert loaded.activation.spec() == {"name": "jumprelu", "n_latents": 24}
    assert torch.equal(loaded.activation.threshold, crosscoder.activation.shift.clamp(min=0))
    code = crosscoder.eval().encode(crosscoder.normalise(raw))
    torch.testing.assert_close(loaded.encode(raw).to_dense(), code.to_dense(), atol=1e-5, rtol=1e-5)


def test_it_is_rebuilt_from_its_spec_and_state(gated):
    assert gated.spec() == {"name": "gated", "n_latents": N_LATENTS}
    back = from_spec(gated.spec()).double()
    back.load_state_dict(gated.state_dict())
    pre = torch.randn(BATCH, N_LATENTS, dtype=torch.float64)
    assert torch.equal(back.compute_values(pre), gated.compute_values(pre))


def test_it_starts_as_relu():
    pre = torch.randn(BATCH, N_LATENTS)
    assert torch.equal(Gated(N_LATENTS).compute_values(pre), pre.clamp(min=0))
