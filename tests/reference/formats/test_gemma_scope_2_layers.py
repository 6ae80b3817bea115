"""Gemma Scope 2's crosscoders over layers, one file for each layer l that is read:

pre_l = x_l w_enc_l + b_enc_l      f_l = pre_l · H(pre_l − θ_l)      x̂_m = b_dec_m + Σ_{l ≤ m} f_l
w_dec_l[:, m]
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
    step_above,
    to_double,
)

L = 4
LAYERS = (5, 9, 12, 15)


def weights(draw: Draw, d: int = d, causal: bool = True) -> list[dict[str, torch.Tensor]]:
    each = []
    for layer in range(L):
        w = {
            "w_enc": draw(d, F // L, std=(1 + layer) * d**-0.5),
            "b_enc": draw(F // L),
            "threshold": draw(F // L).abs(),
        }
        w |= {"w_dec": draw(F // L, L, d), "b_dec": draw(d)}
        if causal:
            w["w_dec"][:, :layer] = 0
        each.append(w)
    return each


def files(each, **settings) -> dict:
    named: dict = {f"params_layer_{layer}.safetensors": w for layer, w in enumerate(each)}
    if settings:
        site = "model.layers.{5,9,12,15}.output"
        config = {
            "hf_hook_point_in": site,
            "hf_hook_point_out": site,
            "width": F,
            "architecture": "jump_relu",
        }
        config |= {"model_name": "google/gemma-3-270m-pt", "l0": 60, "affine_connection": False}
        named["config.json"] = config | settings
    return named


def formula(x, each):
    x, each = x.double(), [to_double(w) for w in each]
    f = []
    for layer, w in enumerate(each):
        pre = x[:, layer] @ w["w_enc"] + w["b_enc"]
        f.append(pre * step_above(pre, w["threshold"]))
    recon = torch.stack([w["b_dec"].expand(len(x), -1) for w in each], dim=1)
    for written in range(L):
        for read in range(written + 1):
            recon[:, written] += f[read] @ each[read]["w_dec"][:, written]
    return torch.cat(f, dim=1), recon


def test_code_and_reconstruction(tmp_path):
    draw = Draw()
    each, x = weights(draw, d=640), draw(40, L, 640) * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    folder = write(tmp_path / "crosscoder", files(each, type="crosscoder"))
    loaded = crosscoder.load(folder)  # a warning would be an error: nothing is masked
    assert_agrees(loaded, x, *formula(x, each))
    hookpoint = {f"base.resid_post.{layer}": f"resid_post.{layer}" for layer in LAYERS}
    assert_provenance(
        loaded,
        folder,
        "gemma_scope_2_layers",
        hookpoint=hookpoint,
        norm="raw activations",
        bos_excluded=True,
    )
    assert loaded.sources.widths == (640,) * L
    assert loaded.sources.diff_pair is None
    assert loaded.provenance["masked_norm"] == 0
    assert loaded.provenance["pair"]["lms"] == {"base": {"weights": "google/gemma-3-270m"}}


def test_writes_to_earlier_layers_are_masked_with_a_warning(tmp_path):
    draw = Draw(1)
    each, x = weights(draw, causal=False), draw(40, L, d, std=3)
    folder = write(tmp_path, files(each, type="crosscoder", model_name="other/model"))
    with pytest.warns(UserWarning, match="write to layers before the one they read"):
        loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, each))
    masked = (
        sum(w["w_dec"][:, :layer].double().square().sum() for layer, w in enumerate(each)) ** 0.5
    )
    assert loaded.provenance["masked_norm"] == pytest.approx(float(masked), rel=1e-5)


def test_without_a_config_the_folder_name_decides(small, tmp_path):
    draw = Draw(2)
    each, x = weights(draw), draw(40, L, d, std=3)
    folder = write(tmp_path / "crosscoder/layer_5_9_12_15_width_65k_l0_medium", files(each))
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, each))
    hookpoint = {f"model.resid_post.{layer}": f"resid_post.{layer}" for layer in LAYERS}
    assert_provenance(
        loaded, folder, "gemma_scope_2_layers", hookpoint=hookpoint, bos_excluded=True
    )


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("folder", {"type": "clt"}, r"cross-layer transcoder \(clt\)"),
        ("folder", {"type": "clt", "affine_connection": True}, r"cross-layer transcoder \(clt\)"),
        ("clt/width_32_l0_medium", {}, r"cross-layer transcoder \(clt\)"),
        ("folder", {"type": "transcoder"}, "says transcoder"),
        ("folder", {}, "neither crosscoder nor clt"),
        (
            "crosscoder/layer_5_9_12_width_32_l0_medium",
            {},
            "has 4 files params_layer_N, but .* over 3 layers",
        ),
        (
            "crosscoder/layer_5_9_12_15_width_16k_l0_medium",
            {},
            "has 32 latents, but its name says 16,384",
        ),
    ],
)
def test_other_kinds_and_layer_counts_are_refused(tmp_path, path, settings, message):
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path / path, files(weights(Draw()), **settings)))


def test_an_affine_connection_is_refused(tmp_path):
    each = [w | {"affine_skip_connection": torch.eye(d)} for w in weights(Draw())]
    with pytest.raises(UserError, match="affine skip connection"):
        crosscoder.load(write(tmp_path, files(each, type="crosscoder", affine_connection=True)))
