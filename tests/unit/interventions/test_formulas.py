"""Every intervention against its formula, written as loops over tokens and latents in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.types import Kind, Tokens
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate, scale_each, scale_latents, steer_toward_base
from crosscoder.interventions.latents import parse_latents
from crosscoder.interventions.patch import patch, patch_base
from crosscoder.interventions.splice import splice
from crosscoder.interventions.steer import (
    combine_decoders,
    compute_median_norms,
    project_out,
    steer,
)
from tests.helpers.small import crosscoder_of, random_acts, sources_of

LATENTS = [3, 0, 17]


@pytest.fixture(params=[TopK(4), ReLU()], ids=["sparse", "dense"])
def crosscoder(request) -> Crosscoder:
    return crosscoder_of(request.param, widths=(6, 6), dtype="float64").fold().double()


def scale_in_loops(
    crosscoder: Crosscoder, acts: torch.Tensor, gains: dict[int, float], keep_error: bool
) -> torch.Tensor:
    f = crosscoder.encode(acts).to_dense()
    out = acts.clone() if keep_error else crosscoder.b_dec.expand_as(acts).clone()
    for t in range(len(acts)):
        for j in range(crosscoder.n_latents):
            g = gains.get(j, 1.0)
            out[t] += ((g - 1) if keep_error else g) * f[t, j] * crosscoder.W_dec[j]
    return out.detach()


@pytest.mark.parametrize("keep_error", [True, False])
@pytest.mark.parametrize("factor", [0.0, 0.3, 2.0])
def test_scaling_follows_the_formula(crosscoder, factor, keep_error):
    acts = random_acts(9, 12, dtype=torch.float64)
    new = scale_latents(crosscoder, LATENTS, factor, keep_error)(acts)
    torch.testing.assert_close(
        new, scale_in_loops(crosscoder, acts, dict.fromkeys(LATENTS, factor), keep_error)
    )
    assert not torch.allclose(new, acts)


@pytest.mark.parametrize("keep_error", [True, False])
def test_each_latent_has_its_own_factor(crosscoder, keep_error):
    acts = random_acts(9, 12, dtype=torch.float64)
    factors = {3: 0.0, 17: -2.0, 0: 1.0, 5: 3.5}
    new = scale_each(crosscoder, factors, keep_error)(acts)
    torch.testing.assert_close(new, scale_in_loops(crosscoder, acts, factors, keep_error))


def test_factors_are_numbers_of_latents_that_exist(crosscoder):
    with pytest.raises(UserError, match="no latent 99"):
        scale_each(crosscoder, {99: 0.0})
    with pytest.raises(UserError, match="factor"):
        scale_each(crosscoder, {1: float("inf")})


def test_ablation_scales_to_zero_and_steering_toward_base_lies_between(crosscoder):
    acts = random_acts(9, 12, dtype=torch.float64)
    ablated = ablate(crosscoder, LATENTS)(acts)
    assert torch.equal(ablated, scale_latents(crosscoder, LATENTS, 0.0)(acts))
    unchanged = steer_toward_base(crosscoder, LATENTS, 0.0)(acts)
    torch.testing.assert_close(unchanged, acts)
    between = steer_toward_base(crosscoder, LATENTS, 0.25)(acts)
    torch.testing.assert_close(between, 0.25 * ablated + 0.75 * acts)


def test_ablating_no_latents_or_inactive_latents_changes_nothing(crosscoder):
    acts = random_acts(9, 12, dtype=torch.float64)
    assert torch.equal(ablate(crosscoder, [])(acts), acts)
    silent = (crosscoder.encode(acts).to_dense() == 0).all(0).nonzero()[:, 0]
    assert torch.equal(ablate(crosscoder, silent)(acts), acts)


@given(st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23)))
def test_ablations_of_disjoint_sets_add_up(a, b):
    crosscoder = crosscoder_of(TopK(4), dtype="float64").fold().double()
    acts = random_acts(5, 12, dtype=torch.float64)
    b = b - a
    moved = [ablate(crosscoder, sorted(latents))(acts) - acts for latents in (a, b, a | b)]
    torch.testing.assert_close(moved[0] + moved[1], moved[2])


def test_splice_is_the_reconstruction(crosscoder):
    acts = random_acts(9, 12, dtype=torch.float64)
    torch.testing.assert_close(
        splice(crosscoder)(acts), scale_in_loops(crosscoder, acts, {}, keep_error=False)
    )


@pytest.mark.parametrize("latents", [LATENTS, "none", "all", "error", "true"])
def test_patching_rebuilds_chat_from_base(crosscoder, latents):
    acts = random_acts(9, 12, dtype=torch.float64)
    f = crosscoder.encode(acts).to_dense()
    W = crosscoder.W_dec
    b = crosscoder.b_dec
    base = acts[:, :6]
    chat = acts[:, 6:]
    if latents == "error":
        recon = f @ W + b
        expected = base + (chat - recon[:, 6:]) - (base - recon[:, :6])
    elif latents == "true":
        expected = chat
    else:
        expected = base.clone()
        chosen = {"none": [], "all": range(24)}.get(str(latents), latents)
        for j in chosen:
            expected = expected + f[:, j, None] * (W[j, 6:] - W[j, :6])
        if latents == "all":
            expected = expected + b[6:] - b[:6]
    new = patch(crosscoder, latents)(acts)
    torch.testing.assert_close(new[:, 6:], expected.detach())
    assert torch.equal(new[:, :6], base)
    into_base = patch_base(crosscoder, latents)(acts)
    assert torch.equal(into_base[:, :6], new[:, 6:])
    assert torch.equal(into_base[:, 6:], chat)


def test_steering_adds_a_unit_direction_times_the_median_norm():
    crosscoder = crosscoder_of(TopK(4), widths=(6, 6)).fold()
    acts = random_acts(31, 12)
    sources = crosscoder.sources
    rows = torch.arange(33)
    kind = torch.tensor([Kind.SPECIAL, Kind.SPECIAL] + [Kind.PLAIN] * 31)
    with_bos = torch.cat([100 * torch.ones(2, 12), acts])
    reading = Reading(with_bos, Tokens(rows, rows, rows, kind), ["x"] * 33, sources)
    norms = compute_median_norms(reading)
    assert norms == {
        "base": acts[:, :6].norm(dim=1).sort().values[15].item(),
        "chat": acts[:, 6:].norm(dim=1).sort().values[15].item(),
    }
    direction = torch.tensor([3.0, 0, 0, 4, 0, 0])
    moved = steer(crosscoder, direction, 0.5, norms)(acts) - acts
    crosscoder.provenance["median_norms"] = norms
    assert torch.equal(steer(crosscoder, direction, 0.5)(acts) - acts, moved)
    for name, part in sources.split(moved).items():
        torch.testing.assert_close(
            part, (0.5 * norms[name] * direction / 5).expand(31, -1), atol=1e-6, rtol=1e-5
        )


def test_the_direction_of_a_latent_is_its_chat_decoder(crosscoder):
    decoder = crosscoder.decoder("chat")
    torch.testing.assert_close(combine_decoders(crosscoder, [5]), decoder[5] / decoder[5].norm())
    both = 2 * decoder[5] - decoder[7]
    torch.testing.assert_close(
        combine_decoders(crosscoder, [5, 7], [2.0, -1.0]), both / both.norm()
    )


def test_projecting_out_ends_at_the_given_projection():
    sources = sources_of(6, 5)
    acts = random_acts(20, 11)
    generator = torch.Generator().manual_seed(1)
    v = sources.split(torch.randn(11, generator=generator))
    to = sources.split(torch.randn(11, generator=generator))
    new = sources.split(project_out(sources, v, to)(acts))
    for name, before in sources.split(acts).items():
        unit = v[name] / v[name].norm()
        torch.testing.assert_close(
            new[name] @ unit, (to[name] @ unit).expand(20), atol=1e-5, rtol=1e-5
        )
        rest = torch.eye(len(unit)) - torch.outer(unit, unit)
        torch.testing.assert_close(new[name] @ rest, before @ rest, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([24], "no latent 24"),
        ([-1], "no latent -1"),
        ([1, 1], "given twice"),
        (torch.ones(3), "latents are whole numbers"),
    ],
)
def test_invalid_latents_are_named(latents, message):
    with pytest.raises(UserError, match=message):
        parse_latents(crosscoder_of(TopK(4)), latents)


def test_bad_input_is_refused():
    crosscoder = crosscoder_of(TopK(4))
    with pytest.raises(UserError, match="does not store the median norms"):
        steer(crosscoder, [0], 1.0)
    with pytest.raises(UserError, match="fold the crosscoder"):
        ablate(crosscoder, [0])
    with pytest.raises(UserError, match="one width"):
        patch(crosscoder_of(TopK(4), widths=(5, 7)).fold(), "all")
    with pytest.raises(UserError, match="two compared sources"):
        patch(crosscoder_of(TopK(4), widths=(6,)).fold(), "all")
    with pytest.raises(UserError, match="no norm for source 'chat'"):
        steer(crosscoder, [0], 1.0, {"base": 1.0})
    with pytest.raises(UserError, match="has width 6, the direction 5"):
        steer(crosscoder, torch.ones(5), 1.0, {"base": 1.0, "chat": 1.0})
    with pytest.raises(UserError, match="not zero"):
        steer(crosscoder, torch.zeros(6), 1.0, {"base": 1.0, "chat": 1.0})
    with pytest.raises(UserError, match="found 1 weights for 2 latents"):
        combine_decoders(crosscoder, [0, 1], [1.0])
