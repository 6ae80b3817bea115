"""OpenMOSS's SAEs: a = x' W_E + b_E, f = act(a n) / n, x̂' = f W_D + b_D.

Llama Scope: f = a · H(a n − s θ).
"""

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

K, AVERAGE, THETA = 5, 3.0, 0.8
HOOK = "blocks.15.hook_resid_post"
OLDER = {
    "W_E": "encoder.weight",
    "b_E": "encoder.bias",
    "W_D": "decoder.weight",
    "b_D": "decoder.bias",
}


def weights(draw: Draw, act: str = "relu") -> dict[str, torch.Tensor]:
    w = {"W_E": draw(d, F), "b_E": draw(F), "W_D": draw(F, d), "b_D": draw(d)}
    return w | (
        {"activation_function.log_jumprelu_threshold": draw(F)} if act == "jumprelu" else {}
    )


def older(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights to those of 2024 and early 2025: two linear layers."""
    named = {OLDER[name]: w[name].T if name.startswith("W") else w[name] for name in OLDER}
    rest = {
        name.removeprefix("activation_function."): tensor
        for name, tensor in w.items()
        if name not in OLDER
    }
    return named | rest


def config(act: str, norm: str = "dataset-wise", **other) -> dict:
    settings = {
        "sae_type": "sae",
        "d_model": d,
        "expansion_factor": F // d,
        "act_fn": act,
        "top_k": K,
    }
    return (
        settings | {"norm_activation": norm, "hook_point_in": HOOK, "hook_point_out": HOOK} | other
    )


def formula(x, w, act, s=1.0, weighed=True, theta=None, pre_bias=False):
    x, w = s * x.double(), to_double(w)
    a = (x - w["b_D"] if pre_bias else x) @ w["W_E"] + w["b_E"]
    n = w["W_D"].norm(dim=1) if weighed else torch.ones(F).double()
    f = a.relu()
    if act == "jumprelu":
        f = f * step_above(
            a * n,
            w["activation_function.log_jumprelu_threshold"].exp() if theta is None else s * theta,
        )
    elif act == "topk":
        f = f * select_largest(a * n, K)
    return f, (f @ w["W_D"] + w["b_D"]) / s


@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize("weighed", [True, False])
@pytest.mark.parametrize("norm", ["dataset-wise", "inference"])
@pytest.mark.parametrize("act", ["relu", "jumprelu", "topk"])
def test_code_and_reconstruction(tmp_path, act, norm, weighed, is_older):
    draw = Draw(1)
    w, x = weights(draw, act), draw(40, d)
    stored = (older(w) if is_older else w) | {
        f"dataset_average_activation_norm.{HOOK}": torch.tensor(AVERAGE)
    }
    settings = config(act, norm, sparsity_include_decoder_norm=weighed)
    folder = write(tmp_path / "sae", {"config.json": settings, "sae_weights.safetensors": stored})
    loaded = crosscoder.load(folder)
    s = d**0.5 / AVERAGE if norm == "dataset-wise" else 1.0
    assert_agrees(loaded, x, *formula(x, w, act, s, weighed))
    assert_provenance(loaded, folder, "openmoss_sae", hookpoint={"model": "resid_post.15"})


def test_the_missing_averages_of_llama_scope_r1_are_requested(tmp_path):
    draw = Draw(2)
    w, x = weights(draw, "jumprelu"), draw(40, d)
    settings = config("jumprelu")
    del settings["sae_type"]  # which its files do not say
    folder = write(tmp_path, {"config.json": settings, "sae_weights.safetensors": older(w)})
    with pytest.raises(UserError, match=r"It lacks dataset_average_activation_norm.*input_scale="):
        crosscoder.load(folder)
    assert_agrees(crosscoder.load(folder, input_scale=0.4), x, *formula(x, w, "jumprelu", 0.4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hook_point_out": "blocks.15.hook_mlp_out"}, "a transcoder"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"act_fn": "batchtopk"}, "act_fn is 'batchtopk'"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"d_model": 9}, "'W_E' has shape"),
        ({"top_k": 0, "act_fn": "topk"}, "top_k = 0"),
        ({"use_decoder_bias": False}, "use_decoder_bias is false"),
    ],
)
def test_unsupported_settings_are_refused(tmp_path, settings, message):
    files = {
        "config.json": config("relu", "inference") | settings,
        "sae_weights.safetensors": weights(Draw()),
    }
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))


# --- Llama Scope ---


def hyperparams(**other) -> dict:
    settings = {
        "d_model": d,
        "d_sae": F,
        "act_fn": "topk",
        "top_k": K,
        "jump_relu_threshold": THETA,
    }
    settings |= {
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
        "norm_activation": "dataset-wise",
        "use_decoder_bias": True,
    }
    settings |= {"apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True}
    return settings | {"dataset_average_activation_norm": {"in": AVERAGE, "out": AVERAGE}} | other


@pytest.mark.parametrize("file", ["checkpoints/final.safetensors", "sae_weights.safetensors"])
@pytest.mark.parametrize(
    ("settings", "act", "options"),
    [
        ({}, "jumprelu", {"theta": THETA}),
        (
            {"act_fn": "jumprelu", "sparsity_include_decoder_norm": False},
            "jumprelu",
            {"theta": THETA, "weighed": False},
        ),
        ({"jump_relu_threshold": 0.0}, "topk", {}),
        ({"act_fn": "relu"}, "relu", {}),
        (
            {"apply_decoder_bias_to_pre_encoder": True},
            "jumprelu",
            {"theta": THETA, "pre_bias": True},
        ),
    ],
    ids=str,
)
def test_llama_scope(tmp_path, settings, act, options, file):
    draw = Draw(3)
    w, x = weights(draw), draw(40, d)
    folder = write(
        tmp_path / "Llama3_1-8B-Base-L15R-8x",
        {"hyperparams.json": hyperparams(**settings), file: older(w)},
    )
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, act, d**0.5 / AVERAGE, **options))
    assert loaded.provenance["layout"] == "llama_scope"
    assert loaded.provenance["pair"]["lms"] == {"base": {"weights": "meta-llama/Llama-3.1-8B"}}
    assert set(loaded.provenance["sha256"]) == {"hyperparams.json", file}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset_average_activation_norm": {"in": 0.0}}, "must be one plausible norm"),
        (
            {"dataset_average_activation_norm": {"in": 3.0, "out": 4.0}},
            "must be one plausible norm",
        ),
        ({"dataset_average_activation_norm": None}, "dataset_average_activation_norm"),
        ({"dataset_average_activation_norm": {}}, "lacks 'in'"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"hook_point_out": "blocks.15.hook_mlp_out"}, "a transcoder"),
        ({"d_sae": 31}, "has shape"),
        ({"jump_relu_threshold": "0.5"}, "jump_relu_threshold"),
    ],
)
def test_unsupported_settings_of_llama_scope_are_refused(tmp_path, settings, message):
    files = {
        "hyperparams.json": hyperparams(**settings),
        "checkpoints/final.safetensors": older(weights(Draw())),
    }
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))
