"""Contract of the activations in conf/activation."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from tests.helpers.configs import activation_of, choices
from tests.helpers.small import crosscoder_of, random_acts

N_LATENTS, WIDTH = 120, 6  # at k = 4, codes are sparse
every_activation = pytest.mark.parametrize("name", choices("activation"))
seeds = st.integers(0, 2**16)


def used(name: str, seed: int, grid: float = 0.0) -> Crosscoder:
    """Return a crosscoder in inference mode that has seen one batch in training mode.

    With a `grid`, all weights are multiples of it, and gains powers of two: then sums are exact in
    any order, and results equal bit for bit.
    """
    crosscoder = crosscoder_of(activation_of(name, N_LATENTS), (WIDTH, WIDTH), N_LATENTS, seed)
    if grid:
        with torch.no_grad():
            for weight_name, weight in crosscoder.named_parameters():
                unit = log(2) if ".log_" in weight_name else grid
                weight.copy_((weight / unit).round() * unit)
    crosscoder.train()(random_acts(64, 2 * WIDTH, seed))
    return crosscoder.eval()


def on_grid(acts: Tensor, grid: float = 0.25) -> Tensor:
    return (acts / grid).round() * grid


@every_activation
@given(
    seed=seeds, means=st.integers(-8, 8), scales=st.tuples(st.integers(-3, 3), st.integers(-3, 3))
)
def test_folded_on_raw_is_unfolded_on_normalised(name, seed, means, scales):
    crosscoder = used(name, seed, grid=1 / 16)
    scale = torch.cat([torch.full((WIDTH,), 2.0**exponent) for exponent in scales])
    mean = on_grid(random_acts(1, 2 * WIDTH, seed + 1)[0] * means)
    crosscoder.set_units(mean, scale)
    acts = on_grid(random_acts(50, 2 * WIDTH, seed + 2))
    raw = acts * scale + mean
    before, folded = crosscoder.encode(crosscoder.normalise(raw)), crosscoder.fold()
    after = folded.encode(raw)
    assert torch.equal(before.to_dense(), after.to_dense())
    torch.testing.assert_close(
        crosscoder.decode(before) * scale + mean, folded.decode(after), atol=1e-4, rtol=1e-5
    )


@every_activation
@given(seed=seeds)
def test_a_loaded_crosscoder_equals_the_folded_one_bit_for_bit(name, seed, tmp_path_factory):
    crosscoder = used(name, seed)
    crosscoder.set_units(torch.randn(2 * WIDTH), torch.rand(2 * WIDTH) + 0.1)
    folded = crosscoder.fold()
    loaded = Crosscoder.from_pretrained(
        crosscoder.save_pretrained(tmp_path_factory.mktemp("saved") / "crosscoder")
    )
    raw = random_acts(50, 2 * WIDTH, seed + 1)
    assert torch.equal(folded.encode(raw).to_dense(), loaded.encode(raw).to_dense())
    assert torch.equal(folded.decode(folded.encode(raw)), loaded.decode(loaded.encode(raw)))


@every_activation
@given(seed=seeds)
def test_latents_can_be_renumbered(name, seed):
    crosscoder, renumbered = used(name, seed), used(name, seed)
    order = torch.randperm(N_LATENTS, generator=torch.Generator().manual_seed(seed))
    per_latent = {n: t for n, t in renumbered.state_dict().items() if t.shape[:1] == (N_LATENTS,)}
    renumbered.load_state_dict({n: t[order] for n, t in per_latent.items()}, strict=False)
    acts = random_acts(50, 2 * WIDTH, seed + 1)
    code, code_renumbered = crosscoder.encode(acts), renumbered.encode(acts)
    torch.testing.assert_close(code.to_dense()[:, order], code_renumbered.to_dense())
    torch.testing.assert_close(crosscoder.decode(code), renumbered.decode(code_renumbered))


@every_activation
@given(seed=seeds)
def test_swapped_sources_give_the_same_code_and_a_mirrored_difference(name, seed):
    crosscoder, mirrored = used(name, seed), used(name, seed)
    mirrored.sources = Sources(
        tuple(reversed(crosscoder.sources.items)), crosscoder.sources.diff_pair
    )
    with torch.no_grad():
        for weight in (mirrored.W_enc, mirrored.W_dec, mirrored.b_dec):
            weight.copy_(weight.roll(WIDTH, dims=-1))
    acts = random_acts(50, 2 * WIDTH, seed + 1)
    code, code_mirrored = crosscoder.encode(acts), mirrored.encode(acts.roll(WIDTH, dims=-1))
    torch.testing.assert_close(code.to_dense(), code_mirrored.to_dense())
    for source in ("base", "chat"):
        torch.testing.assert_close(
            crosscoder.decode(code, source), mirrored.decode(code_mirrored, source)
        )
    torch.testing.assert_close(crosscoder.decoder_norms(), mirrored.decoder_norms().flip(0))


@every_activation
@given(seed=seeds, cut=st.integers(1, 49))
def test_in_inference_a_tokens_code_does_not_depend_on_its_batch(name, seed, cut):
    crosscoder = used(name, seed, grid=1 / 16)
    acts = on_grid(random_acts(50, 2 * WIDTH, seed + 1))
    parts = [crosscoder.encode(part).to_dense() for part in (acts[:cut], acts[cut:])]
    assert torch.equal(torch.cat(parts), crosscoder.encode(acts).to_dense())


@every_activation
def test_folding_leaves_the_original_unchanged(name):
    crosscoder = used(name, seed=0).train()
    before = {key: tensor.clone() for key, tensor in crosscoder.state_dict().items()}
    folded = crosscoder.fold()
    with torch.no_grad():
        folded.W_dec.zero_()
    assert all(module.training for module in crosscoder.modules())
    for key, tensor in crosscoder.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[key].nan_to_num()), key


@every_activation
def test_active_entries_are_positive_and_in_order(name):
    crosscoder = used(name, seed=0)
    for mode in (True, False):
        code = crosscoder.train(mode).encode(random_acts(50, 2 * WIDTH))
        sparse = code if hasattr(code, "index") else code.to_sparse()
        positions = sparse.index.rows * N_LATENTS + sparse.index.latents
        assert (sparse.values > 0).all()
        assert (positions.diff() > 0).all()


@every_activation
def test_evaluating_changes_no_state(name):
    crosscoder = used(name, seed=0)
    before = {key: tensor.clone() for key, tensor in crosscoder.state_dict().items()}
    crosscoder.encode(random_acts(50, 2 * WIDTH, seed=9))
    for key, tensor in crosscoder.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[key].nan_to_num()), key
