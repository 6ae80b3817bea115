"""OpenMOSS's crosscoders over hook points h:

a = Σ_h (x'_h W_E[h] + b_E[h])      f_h = act(a · n_h) / n_h      x̂'_h = f_h W_D[h] + b_D[h]
n_h = ‖W_D[h]‖ or 1
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

K = 5
HOOKS = ["blocks.3.hook_resid_post", "blocks.7.hook_resid_post"]
NAMES = {"model.resid_post.3": "resid_post.3", "model.resid_post.7": "resid_post.7"}
AVERAGES = [2.0, 11.0]


def weights(draw: Draw, act: str, hooks: list[str]) -> dict[str, torch.Tensor]:
    h = len(hooks)
    w = {"W_E": draw(h, d, F), "b_E": draw(h, F), "W_D": draw(h, F, d), "b_D": draw(h, d)}
    w["W_D"] *= torch.tensor([0.5, 2.0])[:h, None, None]
    if act == "jumprelu":
        w["activation_function.log_jumprelu_threshold"] = draw(F) + 1
    pairs = zip(hooks, AVERAGES, strict=False)
    return w | {
        f"dataset_average_activation_norm.{hook}": torch.tensor(average) for hook, average in pairs
    }


def config(act: str, hooks: list[str], norm: str, weighed: bool) -> dict:
    changes = {
        "sae_type": "crosscoder",
        "d_model": d,
        "expansion_factor": F // d,
        "act_fn": act,
        "top_k": K,
    }
    changes |= {
        "norm_activation": norm,
        "sparsity_include_decoder_norm": weighed,
        "hook_points": hooks,
    }
    return changes | {"dtype": "torch.float32", "device": "cpu"}


def formula(x, w, act, norm, weighed):
    """Return a code for each head, [n, h, F], and reconstruction [n, h, d]."""
    x, w = x.double(), to_double(w)
    h = len(w["W_E"])
    c = [d**0.5 / AVERAGES[i] if norm == "dataset-wise" else 1.0 for i in range(h)]
    a = sum(c[i] * x[:, i] @ w["W_E"][i] + w["b_E"][i] for i in range(h))
    f, recon = [], []
    for i in range(h):
        n = w["W_D"][i].norm(dim=1) if weighed else torch.ones(F).double()
        v = a * n
        if act == "jumprelu":
            v = v * step_above(v, w["activation_function.log_jumprelu_threshold"].exp())
        elif act == "topk":
            v = v * select_largest(v, K)
        f.append(v.relu() / n)
        recon.append((f[i] @ w["W_D"][i] + w["b_D"][i]) / c[i])
    return torch.stack(f, dim=1), torch.stack(recon, dim=1)


@pytest.mark.parametrize("norm", ["dataset-wise", "inference"])
@pytest.mark.parametrize("weighed", [True, False])
@pytest.mark.parametrize(
    ("act", "hooks"),
    [
        ("relu", HOOKS),
        ("jumprelu", HOOKS),
        ("topk", HOOKS),
        ("jumprelu", HOOKS[:1]),
        ("topk", HOOKS[:1]),
    ],
)
def test_code_and_reconstruction(tmp_path, act, hooks, weighed, norm):
    draw, h = Draw(3), len(hooks)
    w, x = weights(draw, act, hooks), draw(40, h, d) * torch.tensor([1.0, 3.0])[:h, None]
    folder = write(
        tmp_path / "crosscoder",
        {"config.json": config(act, hooks, norm, weighed), "sae_weights.safetensors": w},
    )
    if act == "topk" and weighed and h > 1:
        with pytest.raises(UserError, match="a different selection in every head"):
            crosscoder.load(folder)
        return
    loaded = crosscoder.load(folder)
    f, recon = formula(x, w, act, norm, weighed)
    if act == "jumprelu" and weighed and h > 1:  # a row for each head
        assert_agrees(loaded, x, f.flatten(1), recon)
        assert loaded.groups.tolist() == [*range(F), *range(F)]
    else:  # every head has the same code
        torch.testing.assert_close(f, f[:, :1].expand_as(f))
        assert_agrees(loaded, x, f[:, 0], recon)
    place = NAMES if h > 1 else {"model": "resid_post.3"}
    changes = (
        "raw activations"
        if norm == "inference"
        else "x · √d / average norm, one factor for each hook point"
    )
    assert_provenance(loaded, folder, "openmoss", hookpoint=place, norm=changes, bos_excluded=None)
    assert loaded.sources.widths == (d,) * h


@pytest.mark.parametrize(
    ("act", "missing", "norm"),
    [
        ("jumprelu", "norm_activation", "dataset-wise"),
        ("relu", "act_fn", "inference"),
        ("jumprelu", "sparsity_include_decoder_norm", "inference"),
        ("relu", "expansion_factor", "inference"),
    ],
)
def test_defaults_are_those_of_the_library(tmp_path, act, missing, norm):
    draw = Draw(4)
    w, x = weights(draw, act, HOOKS[:1]), draw(40, 1, d)
    settings = config(act, HOOKS[:1], norm, True)
    del settings[missing]
    loaded = crosscoder.load(
        write(tmp_path, {"config.json": settings, "sae_weights.safetensors": w})
    )
    f, recon = formula(x, w, act, norm, True)
    assert_agrees(loaded, x, f[:, 0], recon)


def test_the_default_top_k_is_50(tmp_path):
    settings = config("topk", HOOKS[:1], "inference", True)
    del settings["top_k"]
    files = {"config.json": settings, "sae_weights.safetensors": weights(Draw(), "topk", HOOKS[:1])}
    with pytest.raises(UserError, match="top_k = 50, but there are 32 latents"):
        crosscoder.load(write(tmp_path, files))


@pytest.mark.parametrize(
    ("changes", "lost"), [({}, "b_E"), ({}, "b_D"), ({"use_decoder_bias": False}, None)]
)
def test_biases_must_agree_with_the_settings(tmp_path, changes, lost):
    w = weights(Draw(), "relu", HOOKS)
    w.pop(lost, None)
    files = {
        "config.json": config("relu", HOOKS, "inference", True) | changes,
        "sae_weights.safetensors": w,
    }
    with pytest.raises(UserError, match=f"lacks '{lost}'" if lost else "use_decoder_bias is false"):
        crosscoder.load(write(tmp_path, files))


# what torch.empty may leave: nothing, a denormal number, a huge one, none
UNSET = [0.0, 1e-41, 4.6e-41, 3.2e30, -7.0, float("nan"), float("inf")]


@pytest.mark.parametrize("average", UNSET)
def test_unset_averages_are_ignored_for_raw_activations(tmp_path, average):
    draw = Draw(5)
    w, x = weights(draw, "jumprelu", HOOKS[:1]), draw(40, 1, d)
    stored = w | {f"dataset_average_activation_norm.{HOOKS[0]}": torch.tensor(average)}
    files = {
        "config.json": config("jumprelu", HOOKS[:1], "inference", True),
        "sae_weights.safetensors": stored,
    }
    f, recon = formula(x, w, "jumprelu", "inference", True)
    assert_agrees(crosscoder.load(write(tmp_path, files)), x, f[:, 0], recon)


@pytest.mark.parametrize("average", UNSET)
def test_unset_averages_are_requested_if_needed(tmp_path, average):
    draw = Draw(6)
    w, x = weights(draw, "relu", HOOKS), draw(40, 2, d)
    stored = w | {f"dataset_average_activation_norm.{HOOKS[1]}": torch.tensor(average)}
    files = {
        "config.json": config("relu", HOOKS, "dataset-wise", True),
        "sae_weights.safetensors": stored,
    }
    folder = write(tmp_path, files)
    with pytest.raises(UserError, match=r"never set.*input_scale="):
        crosscoder.load(folder)
    factors = {name: d**0.5 / average for name, average in zip(NAMES, AVERAGES, strict=True)}
    f, recon = formula(x, w, "relu", "dataset-wise", True)
    assert_agrees(crosscoder.load(folder, input_scale=factors), x, f[:, 0], recon)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sae_type": "clt"}, "sae_type is 'clt'"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"act_fn": "batchtopk"}, "act_fn is 'batchtopk'"),
        (
            {"hook_points": ["a", "b"], "norm_activation": "dataset-wise"},
            "lacks dataset_average_activation_norm",
        ),
        ({"expansion_factor": 5}, r"'W_E' has shape \[2, 8, 32\]"),
    ],
)
def test_unsupported_settings_are_refused(tmp_path, changes, message):
    settings = config("relu", HOOKS, "inference", True) | changes
    files = {"config.json": settings, "sae_weights.safetensors": weights(Draw(), "relu", HOOKS)}
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))
