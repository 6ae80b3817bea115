"""Gemma Scope 2, one layer, on raw activations.

f = pre · H(pre − θ), pre = x w_enc + b_enc, x̂ = f w_dec + b_dec.
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


def weights(draw: Draw, d: int = d) -> dict[str, torch.Tensor]:
    w = {"w_enc": draw(d, F, std=d**-0.5), "b_enc": draw(F), "w_dec": draw(F, d), "b_dec": draw(d)}
    return w | {"threshold": draw(F).abs()}


def config(site: str, model: str, **other) -> dict:
    settings = {
        "hf_hook_point_in": site,
        "hf_hook_point_out": site,
        "width": F,
        "model_name": model,
    }
    return (
        settings
        | {"architecture": "jump_relu", "l0": 60, "affine_connection": False, "type": "sae"}
        | other
    )


def formula(x, w):
    x, w = x.double(), to_double(w)
    pre = x @ w["w_enc"] + w["b_enc"]
    f = pre * step_above(pre, w["threshold"])
    return f, f @ w["w_dec"] + w["b_dec"]


@pytest.mark.parametrize(
    ("site", "model", "width", "name", "hookpoint", "id"),
    [
        ("output", "google/gemma-3-270m-pt", 640, "base", "resid_post.9", "google/gemma-3-270m"),
        (
            "self_attn.o_proj.input",
            "gemma-v3-270m-it",
            1024,
            "chat",
            "attn_z.9",
            "google/gemma-3-270m-it",
        ),
        (
            "post_feedforward_layernorm.output",
            "gemma-3-1b-pt",
            1152,
            "base",
            "mlp_out.9",
            "google/gemma-3-1b-pt",
        ),
    ],
)
def test_code_and_reconstruction(tmp_path, site, model, width, name, hookpoint, id):
    draw = Draw()
    w, x = weights(draw, width), draw(40, width, std=3)
    files = {"params.safetensors": w, "config.json": config(f"model.layers.9.{site}", model)}
    folder = write(tmp_path / "sae", files)
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w))
    assert_provenance(
        loaded,
        folder,
        "gemma_scope_2",
        hookpoint={name: hookpoint},
        norm="raw activations",
        bos_excluded=True,
    )
    assert loaded.sources.widths == (width,)
    assert loaded.provenance["pair"]["lms"] == {name: {"weights": id}}
    assert loaded.provenance["target_l0"] == 60


@pytest.mark.parametrize(
    ("path", "width", "name", "hookpoint"),
    [
        ("resid_post/layer_9_width_16k_l0_small", d, "model", "resid_post.9"),
        ("resid_post/layer_9_width_16k_l0_medium_seed_1", d, "model", "resid_post.9"),
        ("gemma-scope-2-270m-pt/mlp_out/layer_12_width_16k_l0_big", 640, "base", "mlp_out.12"),
        ("gemma-scope-2-270m-it/attn_out_all/layer_0_width_16k_l0_big", 1024, "chat", "attn_z.0"),
    ],
)
def test_without_a_config_the_folder_name_decides(small, tmp_path, path, width, name, hookpoint):
    draw = Draw(1)
    w, x = weights(draw, width), draw(40, width, std=3)
    folder = write(tmp_path / path, {"params.safetensors": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w))
    assert_provenance(
        loaded, folder, "gemma_scope_2", hookpoint={name: hookpoint}, bos_excluded=True
    )


def test_other_files_in_the_folder_are_ignored(tmp_path):
    draw = Draw(2)
    w, x = weights(draw), draw(40, d, std=3)
    write(tmp_path, {"examples.safetensors": {"w_enc": draw(3)}, "params.safetensors": w})
    loaded = crosscoder.load(tmp_path)
    assert_agrees(loaded, x, *formula(x, w))
    assert list(loaded.provenance["sha256"]) == ["params.safetensors"]


AFFINE = {"affine_skip_connection": torch.eye(d)}


@pytest.mark.parametrize(
    ("path", "settings", "more"),
    [
        ("sae", {"type": "transcoder"}, {}),
        ("sae", {"type": "transcoder", "affine_connection": True}, AFFINE),
        ("sae", {"affine_connection": True}, AFFINE),
        ("transcoder/layer_9_width_32_l0_small", None, {}),
        ("transcoder_all/layer_9_width_32_l0_small_affine", None, AFFINE),
        ("sae", None, AFFINE),
    ],
)
def test_transcoders_are_refused(tmp_path, path, settings, more):
    files: dict = {"params.safetensors": weights(Draw()) | more}
    if settings is not None:
        files["config.json"] = config(
            "model.layers.9.pre_feedforward_layernorm.output", "other/model", **settings
        )
    folder = write(tmp_path / path, files)
    with pytest.raises(UserError, match="is a transcoder: it maps one site to another"):
        crosscoder.load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 33}, "has 32 latents, but config.json says 33"),
        ({"model_name": "google/gemma-3-270m-it"}, "width 640 at resid_post, but .* reads 8"),
        ({"architecture": "topk"}, "architecture is 'topk', expected Gemma Scope's jump_relu"),
    ],
)
def test_weights_that_contradict_the_config_are_refused(tmp_path, settings, message):
    files = {
        "params.safetensors": weights(Draw()),
        "config.json": config("model.layers.9.output", "other/m", **settings),
    }
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))
