"""SAELens: x̃ = x − b_dec with apply_b_dec_to_input, pre = x̃ W_enc + b_enc."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats.files import (
    Draw,
    F,
    assert_agrees,
    assert_provenance,
    d,
    select_largest,
    step_above,
    to_double,
)

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
    settings = {
        "architecture": architecture,
        "d_in": d,
        "d_sae": F,
        "dtype": "float32",
        "device": "cpu",
    }
    settings |= {
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    return settings | {"metadata": metadata} | ({"k": K} if architecture == "topk" else {}) | other


def formula(x, w, architecture, pre_bias=False, rescale=False, s=1.0):
    """Return code and reconstruction; the weights read activations multiplied by `s`."""
    x, w = s * x.double(), to_double(w)
    product = (x - w["b_dec"] if pre_bias else x) @ w["W_enc"]
    W_dec = w["W_dec"]
    if architecture == "gated":
        gate = step_above(product + w["b_gate"], 0)
        f = (
            gate
            * (
                (x - w["b_dec"] if pre_bias else x) @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]
            ).relu()
        )
    else:
        pre = product + w["b_enc"]
        f = pre.relu()
        if architecture == "jumprelu":
            f = f * step_above(pre, w["threshold"])
        if architecture == "topk":
            norms = W_dec.norm(dim=1) if rescale else torch.ones(F).double()
            f = (pre * norms).relu() * select_largest(pre * norms, K)  # the norm stays in f
            W_dec = W_dec / norms[:, None]
    return f, (f @ W_dec + w["b_dec"]) / s


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("architecture", list(TENSORS))
def test_code_and_reconstruction(tmp_path, architecture, pre_bias):
    draw = Draw()
    w, x = weights(draw, architecture), draw(40, d)
    files = {
        "cfg.json": config(architecture, apply_b_dec_to_input=pre_bias),
        "sae_weights.safetensors": w,
    }
    folder = write(tmp_path / "sae", files)
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, architecture, pre_bias))
    place = {"chat": "resid_post.12"}
    assert_provenance(
        loaded, folder, "saelens", hookpoint=place, norm="raw activations", bos_excluded=True
    )
    assert loaded.sources.widths == (d,)


@pytest.mark.parametrize("pre_bias", [False, True])
def test_rescaled_topk_multiplies_its_code_by_decoder_norms(tmp_path, pre_bias):
    draw = Draw(1)
    w, x = weights(draw, "topk"), draw(40, d)
    settings = config("topk", rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=pre_bias)
    loaded = crosscoder.load(write(tmp_path, {"cfg.json": settings, "sae_weights.safetensors": w}))
    assert_agrees(loaded, x, *formula(x, w, "topk", pre_bias, rescale=True))


@pytest.mark.parametrize("missing", ["apply_b_dec_to_input", "normalize_activations"])
@pytest.mark.parametrize("architecture", list(TENSORS))
def test_defaults_are_those_of_the_library(tmp_path, architecture, missing):
    draw = Draw(6)
    w, x = weights(draw, architecture), draw(40, d)
    settings = config(architecture, apply_b_dec_to_input=True)
    del settings[missing]
    loaded = crosscoder.load(write(tmp_path, {"cfg.json": settings, "sae_weights.safetensors": w}))
    assert_agrees(loaded, x, *formula(x, w, architecture, pre_bias=True))


def test_the_default_k_is_100(tmp_path):
    settings = config("topk")
    del settings["k"]
    files = {"cfg.json": settings, "sae_weights.safetensors": weights(Draw(), "topk")}
    with pytest.raises(UserError, match="k = 100, but there are 32 latents"):
        crosscoder.load(write(tmp_path, files))


@pytest.mark.parametrize("pre_bias", [None, "true", 1])
def test_the_pre_bias_follows_the_settings(tmp_path, pre_bias):
    settings = config("standard", apply_b_dec_to_input=pre_bias)
    files = {"cfg.json": settings, "sae_weights.safetensors": weights(Draw(), "standard")}
    with pytest.raises(UserError, match="apply_b_dec_to_input"):
        crosscoder.load(write(tmp_path, files))


# as versions 1.0, 2.1, 3.10 and 5.9 write it; of the first two every file holds factors
VERSIONS = {
    1: {
        "hook_point": "blocks.6.hook_resid_pre",
        "hook_point_head_index": None,
        "activation_fn": "relu",
    },
    2: {
        "hook_point": "blocks.6.hook_resid_pre",
        "activation_fn": "relu",
        "normalize_activations": False,
    },
    3: {
        "hook_name": "blocks.6.hook_resid_pre",
        "activation_fn_str": "relu",
        "normalize_activations": "none",
    },
    5: {
        "hook_name": "blocks.6.hook_resid_pre",
        "activation_fn_str": "relu",
        "normalize_activations": None,
    },
}


def old(version: int, **other) -> dict:
    settings = {
        "d_in": d,
        "d_sae": F,
        "dtype": "torch.float32",
        "device": "cuda",
        "model_name": "gemma-2b",
    }
    settings |= {
        "apply_b_dec_to_input": True,
        "expansion_factor": 4,
        "finetuning_method": None,
        "lp_norm": 1,
    }
    return settings | VERSIONS[version] | {"sae_lens_version": f"{version}.1.0"} | other


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_factors_of_one_are_ignored(tmp_path, version, factor):
    draw = Draw(7)
    w, x = weights(draw, "standard"), draw(40, d)
    stored = w | {"scaling_factor": torch.full((F,), factor)}
    sparsity = {"sparsity": draw(F)}
    files = {
        "cfg.json": old(version),
        "sae_weights.safetensors": stored,
        "sparsity.safetensors": sparsity,
    }
    loaded = crosscoder.load(write(tmp_path, files))
    assert_agrees(loaded, x, *formula(x, w, "standard", pre_bias=True))
    assert loaded.sources.items[0].hookpoint == "resid_post.5"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (old(1), "scaling_factor"),
        (old(2, finetuning_method="scale"), "scaling_factor"),
        (old(3, finetuning_scaling_factor=True), "scaling_factor"),
        (old(5, finetuning_scaling_factor=True), "finetuning_scaling_factor"),
    ],
)
def test_finetuning_factors_multiply_the_code_before_decoding(tmp_path, settings, name):
    draw = Draw(7)
    w, x = weights(draw, "standard"), draw(40, d)
    factor = draw(F).abs() + 0.5
    loaded = crosscoder.load(
        write(tmp_path, {"cfg.json": settings, "sae_weights.safetensors": w | {name: factor}})
    )
    f, _ = formula(x, w, "standard", pre_bias=True)
    assert_agrees(loaded, x, f, (f * factor.double()) @ w["W_dec"].double() + w["b_dec"].double())


@pytest.mark.parametrize(
    "settings",
    [
        old(3, finetuning_scaling_factor=False),
        old(3),
        config("standard"),
        old(2, finetuning_scaling_factor=3),
    ],
)
def test_unused_finetuning_factors_are_refused(tmp_path, settings):
    stored = weights(Draw(), "standard") | {"scaling_factor": torch.full((F,), 2.0)}
    with pytest.raises(UserError, match="finetuning_scaling_factor is not true"):
        crosscoder.load(write(tmp_path, {"cfg.json": settings, "sae_weights.safetensors": stored}))


@pytest.mark.parametrize("norm", [None, "none", "None", False])
def test_every_spelling_of_no_normalisation_is_accepted(tmp_path, norm):
    draw = Draw(9)
    w, x = weights(draw, "jumprelu"), draw(40, d)
    files = {
        "cfg.json": config("jumprelu", normalize_activations=norm),
        "sae_weights.safetensors": w,
    }
    assert_agrees(crosscoder.load(write(tmp_path, files)), x, *formula(x, w, "jumprelu"))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_an_unfolded_scale_is_requested(tmp_path, architecture):
    draw = Draw(2)
    w, x = weights(draw, architecture), draw(40, d, std=4)
    settings = config(
        architecture, normalize_activations="expected_average_only_in", apply_b_dec_to_input=True
    )
    folder = write(tmp_path / "sae", {"cfg.json": settings, "sae_weights.safetensors": w})
    with pytest.raises(UserError, match=r"input_scale=.*'chat'"):
        crosscoder.load(folder)
    loaded = crosscoder.load(folder, input_scale=0.3)
    assert_agrees(loaded, x, *formula(x, w, architecture, pre_bias=True, s=0.3))
    assert_provenance(
        loaded, folder, "saelens", hookpoint={"chat": "resid_post.12"}, norm="x · √d / mean‖x‖"
    )


@pytest.mark.parametrize("norm", ["constant_norm_rescale", "layer_norm", "covariance_whitening"])
def test_normalisation_per_token_is_refused(tmp_path, norm):
    files = {
        "cfg.json": config("standard", normalize_activations=norm),
        "sae_weights.safetensors": weights(Draw(), "standard"),
    }
    with pytest.raises(UserError, match=norm):
        crosscoder.load(write(tmp_path, files))


def test_bfloat16_weights_among_other_files(tmp_path):
    draw = Draw(3)
    w = {name: tensor.bfloat16() for name, tensor in weights(draw, "jumprelu").items()}
    files = {
        "cfg.json": config("jumprelu", dtype="bfloat16"),
        "sae_weights.safetensors": w,
        "runner_cfg.json": {},
    }
    loaded = crosscoder.load(
        write(tmp_path, files | {"sparsity.safetensors": {"sparsity": draw(F)}})
    )
    x = draw(40, d)
    assert_agrees(loaded, x, *formula(x, w, "jumprelu"))


def test_log_thresholds_of_checkpoints_are_read(tmp_path):
    draw = Draw(8)
    w, x = weights(draw, "jumprelu"), draw(40, d)
    stored = {name: tensor for name, tensor in w.items() if name != "threshold"} | {
        "log_threshold": w["threshold"]
    }
    loaded = crosscoder.load(
        write(tmp_path, {"cfg.json": config("jumprelu"), "sae_weights.safetensors": stored})
    )
    assert_agrees(loaded, x, *formula(x, w | {"threshold": w["threshold"].exp()}, "jumprelu"))


@pytest.mark.parametrize(
    ("settings", "architecture", "scale"),
    [
        ({"activation_fn_str": "relu", "normalize_activations": False}, "standard", None),
        (
            {
                "activation_fn": "topk",
                "activation_fn_kwargs": {"k": K},
                "normalize_activations": "none",
            },
            "topk",
            None,
        ),
        ({"architecture": "standard", "normalize_activations": True}, "standard", 0.3),
        ({"architecture": "gated", "sae_lens_version": "5.10.0"}, "gated", None),
        ({"architecture": "topk", "activation_fn_kwargs": {"k": K}}, "topk", None),
        ({"architecture": "standard", "normalize_activations": None}, "standard", None),
    ],
)
def test_configurations_from_before_version_6(tmp_path, settings, architecture, scale):
    draw = Draw(5)
    w, x = weights(draw, architecture), draw(40, d, std=2)
    before = {
        "d_in": d,
        "d_sae": F,
        "dtype": "float32",
        "device": "cpu",
        "model_name": "gemma-2b",
        "prepend_bos": True,
    }
    before |= {"hook_point": "blocks.6.hook_resid_pre", "hook_point_layer": 6, "context_size": 128}
    folder = write(tmp_path / "sae", {"cfg.json": before | settings, "sae_weights.safetensors": w})
    loaded = crosscoder.load(folder, input_scale=scale)
    assert_agrees(loaded, x, *formula(x, w, architecture, pre_bias=True, s=scale or 1.0))
    assert_provenance(
        loaded, folder, "saelens", hookpoint={"base": "resid_post.5"}, bos_excluded=None
    )


@pytest.mark.parametrize(
    "architecture", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "temporal"]
)
def test_other_architectures_are_refused(tmp_path, architecture):
    files = {
        "cfg.json": config(architecture),
        "sae_weights.safetensors": weights(Draw(), "standard"),
    }
    with pytest.raises(UserError, match=f"architecture is '{architecture}'"):
        crosscoder.load(write(tmp_path, files))
