"""SAELens: x̃ = x − b_dec where apply_b_dec_to_input, pre = x̃ W_enc + b_enc, and the code by architecture."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.foreign import write
from tests.reference.formats.files import Draw, F, above, agrees, d, double, largest, tells

K = 5
TENSORS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}


def weights(draw: Draw, architecture: str) -> dict[str, torch.Tensor]:
    w = {"W_enc": draw(d, F), "W_dec": draw(F, d), "b_dec": draw(d)}
    return w | {name: draw(F, std=0.5) for name in TENSORS[architecture]}


def config(architecture: str, **other) -> dict:
    metadata = {
        "sae_lens_version": "6.54.12",
        "model_name": "gemma-2-2b-it",
        "hook_name": "blocks.12.hook_resid_post",
        "prepend_bos": True,
        "exclude_special_tokens": True,
    }
    said = {"architecture": architecture, "d_in": d, "d_sae": F, "dtype": "float32", "device": "cpu"}
    said |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}
    return said | {"metadata": metadata} | ({"k": K} if architecture == "topk" else {}) | other


def formula(x, w, architecture, pre_bias=False, rescale=False, s=1.0):
    """`s` is by what activations are multiplied before the weights read them."""
    x, w = s * x.double(), double(w)
    product = (x - w["b_dec"] if pre_bias else x) @ w["W_enc"]
    W_dec = w["W_dec"]
    if architecture == "gated":
        gate = above(product + w["b_gate"], 0)
        f = gate * ((x - w["b_dec"] if pre_bias else x) @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    else:
        pre = product + w["b_enc"]
        f = pre.relu()
        if architecture == "jumprelu":
            f = f * above(pre, w["threshold"])
        if architecture == "topk":
            norms = W_dec.norm(dim=1) if rescale else torch.ones(F).double()
            f = (pre * norms).relu() * largest(pre * norms, K)  # the norm stays in f
            W_dec = W_dec / norms[:, None]
    return f, (f @ W_dec + w["b_dec"]) / s


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("architecture", list(TENSORS))
def test_code_and_reconstruction(tmp_path, architecture, pre_bias):
    draw = Draw()
    w, x = weights(draw, architecture), draw(40, d)
    files = {"cfg.json": config(architecture, apply_b_dec_to_input=pre_bias), "sae_weights.safetensors": w}
    folder = write(tmp_path / "sae", files)
    loaded = crosscoder.load(folder)
    agrees(loaded, x, *formula(x, w, architecture, pre_bias))
    place = {"chat": "resid_post.12"}
    tells(loaded, folder, "saelens", hookpoint=place, norm="raw activations", bos_excluded=True)
    assert loaded.sources.widths == (d,)


@pytest.mark.parametrize("pre_bias", [False, True])
def test_topk_rescaled_by_decoder_norms_has_them_in_its_code(tmp_path, pre_bias):
    draw = Draw(1)
    w, x = weights(draw, "topk"), draw(40, d)
    said = config("topk", rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=pre_bias)
    loaded = crosscoder.load(write(tmp_path, {"cfg.json": said, "sae_weights.safetensors": w}))
    agrees(loaded, x, *formula(x, w, "topk", pre_bias, rescale=True))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_a_scale_that_was_not_folded_is_asked_for(tmp_path, architecture):
    draw = Draw(2)
    w, x = weights(draw, architecture), draw(40, d, std=4)
    said = config(architecture, normalize_activations="expected_average_only_in", apply_b_dec_to_input=True)
    folder = write(tmp_path / "sae", {"cfg.json": said, "sae_weights.safetensors": w})
    with pytest.raises(UserError, match=r"input_scale=.*'chat'"):
        crosscoder.load(folder)
    loaded = crosscoder.load(folder, input_scale=0.3)
    agrees(loaded, x, *formula(x, w, architecture, pre_bias=True, s=0.3))
    tells(loaded, folder, "saelens", hookpoint={"chat": "resid_post.12"}, norm="x · √d / mean‖x‖")


@pytest.mark.parametrize("norm", ["constant_norm_rescale", "layer_norm", "covariance_whitening"])
def test_normalisation_token_by_token_is_refused(tmp_path, norm):
    files = {
        "cfg.json": config("standard", normalize_activations=norm),
        "sae_weights.safetensors": weights(Draw(), "standard"),
    }
    with pytest.raises(UserError, match=norm):
        crosscoder.load(write(tmp_path, files))


def test_bfloat16_and_files_beside_it(tmp_path):
    draw = Draw(3)
    w = {name: tensor.bfloat16() for name, tensor in weights(draw, "jumprelu").items()}
    files = {"cfg.json": config("jumprelu", dtype="bfloat16"), "sae_weights.safetensors": w, "runner_cfg.json": {}}
    loaded = crosscoder.load(write(tmp_path, files | {"sparsity.safetensors": {"sparsity": draw(F)}}))
    x = draw(40, d)
    agrees(loaded, x, *formula(x, w, "jumprelu"))


def test_checkpoints_hold_the_logarithm_of_the_threshold(tmp_path):
    draw = Draw(8)
    w, x = weights(draw, "jumprelu"), draw(40, d)
    stored = {name: tensor for name, tensor in w.items() if name != "threshold"} | {"log_threshold": w["threshold"]}
    loaded = crosscoder.load(write(tmp_path, {"cfg.json": config("jumprelu"), "sae_weights.safetensors": stored}))
    agrees(loaded, x, *formula(x, w | {"threshold": w["threshold"].exp()}, "jumprelu"))


@pytest.mark.parametrize(
    ("said", "architecture", "scale"),
    [
        ({"activation_fn_str": "relu", "normalize_activations": False}, "standard", None),
        ({"activation_fn": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": "none"}, "topk", None),
        ({"architecture": "standard", "normalize_activations": True}, "standard", 0.3),
        ({"architecture": "gated", "sae_lens_version": "5.10.0"}, "gated", None),
    ],
)
def test_configurations_from_before_version_6(tmp_path, said, architecture, scale):
    draw = Draw(5)
    w, x = weights(draw, architecture), draw(40, d, std=2)
    old = {"d_in": d, "d_sae": F, "dtype": "float32", "device": "cpu", "model_name": "gemma-2b", "prepend_bos": True}
    old |= {"hook_point": "blocks.6.hook_resid_pre", "hook_point_layer": 6, "context_size": 128}
    folder = write(tmp_path / "sae", {"cfg.json": old | said, "sae_weights.safetensors": w})
    loaded = crosscoder.load(folder, input_scale=scale)
    agrees(loaded, x, *formula(x, w, architecture, pre_bias=True, s=scale or 1.0))
    tells(loaded, folder, "saelens", hookpoint={"base": "resid_post.5"}, bos_excluded=None)


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "temporal"])
def test_other_architectures_are_refused(tmp_path, architecture):
    files = {"cfg.json": config(architecture), "sae_weights.safetensors": weights(Draw(), "standard")}
    with pytest.raises(UserError, match=f"architecture is '{architecture}'"):
        crosscoder.load(write(tmp_path, files))
