"""Arguments of the crosscoder as people type them: what does not exist is refused in one line."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosscoder.core.activations.gated import Gated
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.core.sparse import DenseCode
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts, sources_of


@pytest.fixture(params=[TopK(1), ReLU()], ids=["sparse", "dense"])
def crosscoder(request) -> Crosscoder:
    return crosscoder_of(request.param).fold()


@pytest.fixture
def acts() -> torch.Tensor:
    return random_acts(9, 12)


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mode=st.text().filter(lambda mode: mode not in ("paired", "solo")))
def test_any_other_mode_is_refused(unchecked, mode):
    crosscoder = crosscoder_of(TopK(4))
    with pytest.raises(UserError, match="mode is paired or solo, not"):
        crosscoder.encode(random_acts(2, 12), mode=mode)


def test_a_source_as_mode_is_refused_with_what_to_write(crosscoder, acts, unchecked):
    with pytest.raises(UserError, match="write mode='solo', source='chat'"):
        crosscoder.encode(acts, mode="chat")
    for mode in (None, 1, True):
        with pytest.raises(UserError, match="mode is paired or solo"):
            crosscoder.encode(acts, mode=mode)


def test_a_source_that_would_be_ignored_is_refused(crosscoder, acts):
    with pytest.raises(UserError, match="source is used with mode='solo' only"):
        crosscoder.encode(acts, source="chat")
    with pytest.raises(UserError, match="no source 'it': expected one of base, chat"):
        crosscoder.encode(acts, mode="solo", source="it")


@pytest.mark.parametrize(
    ("acts", "message"),
    [
        ("text", r"not str: write pair\.read\(text\)"),
        (["text"], r"not list: write pair\.read\(text\)"),
        (np.zeros((2, 12)), r"not ndarray: write torch\.as_tensor"),
        (None, r"not NoneType or what pair\.read returns"),
        (torch.zeros(2, 12, dtype=torch.int64), r"floating-point numbers, not of torch\.int64"),
        (torch.zeros(2, 12, dtype=torch.bool), r"floating-point numbers, not of torch\.bool"),
        (torch.zeros(2, 9), r"expects \[base, chat\] of width 6, 6, not activations of width 9"),
        (torch.zeros(12), r"write acts\[None\]"),
        (torch.zeros(2, 3, 12), r"write acts\.flatten\(0, -2\)|acts\.flatten"),
    ],
)
def test_what_is_no_activations_is_refused_everywhere(acts, message, unchecked):
    crosscoder = crosscoder_of(TopK(4)).fold()
    for read in (crosscoder.encode, crosscoder):
        with pytest.raises(UserError, match=message):
            read(acts)


@pytest.mark.parametrize(
    "acts", [torch.zeros(6), torch.zeros(2, 3, 6), "text", torch.zeros(2, 6, dtype=torch.int32)]
)
def test_solo_activations_are_refused_alike(acts, unchecked):
    with pytest.raises(UserError, match=r"activations are a tensor \[tokens, 6\]"):
        crosscoder_of(TopK(4)).encode(acts, mode="solo")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_refused(crosscoder, acts, value):
    acts[3, 2] = value
    with pytest.raises(UserError, match="1 of 9 tokens have NaN or infinity"):
        crosscoder.encode(acts)


def test_codes_have_no_gradient_and_outputs_have_one(crosscoder, acts):
    code = crosscoder.encode(acts)
    assert not code.requires_grad
    assert not code.to_dense().requires_grad
    assert not crosscoder.decode(code).requires_grad
    assert not crosscoder.decode(code, "chat").requires_grad
    output = crosscoder(acts)
    assert output.code.requires_grad
    assert output.recon.requires_grad
    assert crosscoder.decode(output.code).requires_grad
    assert torch.equal(output.code.to_dense(), code.to_dense())
    assert torch.equal(output.recon, crosscoder.decode(code))


def test_a_reconstruction_has_a_gradient_to_the_decoder_if_the_encoder_is_frozen(acts):
    crosscoder = crosscoder_of(TopK(4))
    crosscoder.W_enc.requires_grad_(False)
    crosscoder.b_enc.requires_grad_(False)
    crosscoder(acts).recon.sum().backward()
    assert crosscoder.W_dec.grad.abs().sum() > 0


def test_what_is_no_code_is_refused(crosscoder, acts, unchecked):
    with pytest.raises(UserError, match=r"not Tensor: write DenseCode\(f\)"):
        crosscoder.decode(torch.zeros(2, 24))
    with pytest.raises(UserError, match=r"not str$"):
        crosscoder.decode("code")
    other = crosscoder_of(TopK(4), n_latents=16)
    with pytest.raises(UserError, match="has 16 latents, but the crosscoder has 24"):
        crosscoder.decode(other.encode(acts))
    with pytest.raises(UserError, match="no source 'it': expected one of base, chat"):
        crosscoder.decode(crosscoder.encode(acts), "it")
    with pytest.raises(UserError, match=r"f is a floating-point tensor \[tokens, n_latents\]"):
        DenseCode(torch.zeros(3))
    recon = crosscoder.decode(DenseCode(torch.zeros(2, 24)))
    torch.testing.assert_close(recon, crosscoder.b_dec.detach().expand(2, -1))


def test_units_and_parts_that_do_not_exist_are_refused(crosscoder, unchecked):
    sources = sources_of(6, 6)
    with pytest.raises(UserError, match="units is training or raw, not 'Raw'"):
        crosscoder.decoder_norms("Raw")
    with pytest.raises(UserError, match=r"mean is a tensor \[12\], not \[3\]"):
        crosscoder.set_units(torch.zeros(3), torch.ones(12))
    with pytest.raises(UserError, match="activation is an object of"):
        Crosscoder(sources, 24, "topk")
    with pytest.raises(UserError, match="sources are a Sources object"):
        Crosscoder(["base"], 24, TopK(4))
    with pytest.raises(UserError, match="n_latents is a whole number from 1, not True"):
        Crosscoder(sources, True, TopK(4))
    with pytest.raises(UserError, match="gemm_dtype is float32, bfloat16, float16 or float64"):
        Crosscoder(sources, 24, TopK(4), gemm_dtype="bf16")
    with pytest.raises(UserError, match="seed is a whole number from 0"):
        Crosscoder(sources, 24, TopK(4), seed="a")


def test_an_activation_with_more_latents_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"^k=25 active latents per token are more than there are"):
        Crosscoder(sources_of(6, 6), 24, TopK(25))
    with pytest.raises(UserError, match=r"^the activation has 8 latents, but n_latents=24"):
        Crosscoder(sources_of(6, 6), 24, Gated(8))
    assert Crosscoder(sources_of(6, 6), 24, TopK(24)).n_latents == 24


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", 0.0, "scale has positive numbers, not 0"),
        ("scale", -2.0, "scale has positive numbers, not -2"),
        ("scale", torch.nan, "scale has finite numbers, not NaN or infinity"),
        ("mean", torch.inf, "mean has finite numbers, not NaN or infinity"),
    ],
)
def test_units_that_no_activation_has_are_refused(crosscoder, name, value, message):
    units = {"mean": torch.zeros(12), "scale": torch.ones(12)}
    units[name][3] = value
    with pytest.raises(UserError, match=f"^{message}$"):
        crosscoder.set_units(**units)
    weights = (crosscoder.W_enc, crosscoder.b_enc, crosscoder.W_dec, crosscoder.b_dec)
    with pytest.raises(UserError, match=f"^{message}$"):
        Crosscoder.from_weights(
            crosscoder.sources, weights, TopK(4), (units["mean"], units["scale"])
        )


def test_sources_that_do_not_fit_are_refused(unchecked):
    one = Source("base", 6)
    for pair in ("base", ("base", "base"), ("base",)):
        with pytest.raises(UserError, match="diff_pair is two different sources"):
            Sources((one, Source("chat", 6)), pair)
    for width in (0, "6", True):
        with pytest.raises(UserError, match="width of source 'base' is a whole number from 1"):
            Sources((Source("base", width),))
    with pytest.raises(UserError, match="sources are Source objects"):
        Sources(("base",))
    with pytest.raises(UserError, match=r"e\.g\. \['base'\], not 'base'"):
        Sources((one,)).subset("base")
    with pytest.raises(UserError, match=r"expected a tensor \[…, 6\]"):
        Sources((one,)).split(torch.zeros(2, 5))


def test_objects_print_as_one_line_without_tensors(crosscoder, acts):
    output = crosscoder(acts)
    for shown in (crosscoder, output.code, output, output.code.to_sparse().index):
        assert len(repr(shown)) < 300
        assert "\n" not in repr(shown)
        assert "tensor(" not in repr(shown)
    assert "[base, chat] of width 6, 6, 24 latents" in repr(crosscoder)
    assert "raw activations" in repr(crosscoder)
    unfolded = crosscoder_of(TopK(4))
    assert "TopK(k=4" in repr(unfolded)
    assert "training units" in repr(unfolded)
