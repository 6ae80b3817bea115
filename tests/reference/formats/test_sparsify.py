"""sparsify: f = the k largest of relu((x − b_dec) Eᵀ + b), x̂ = f W_dec + b_dec."""

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
    to_double,
)

K = 5
CONFIG = {
    "d_in": d,
    "expansion_factor": F // d,
    "normalize_decoder": True,
    "num_latents": F,
    "k": K,
}
CONFIG |= {"multi_topk": False, "skip_connection": False}


def weights(draw: Draw) -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": draw(F, d),
        "encoder.bias": draw(F),
        "W_dec": draw(F, d),
        "b_dec": draw(d),
    }


def formula(x, w, k=K):
    x, w = x.double(), to_double(w)
    pre = (x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    f = pre.relu() * select_largest(pre, k)
    return f, f @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "settings", "hookpoint"),
    [
        ("layers.10", {}, "resid_post.10"),
        ("layers_10", {"num_latents": 0}, "resid_post.10"),
        ("h.5", {"transcode": False, "activation": "topk"}, "resid_post.5"),
        ("folder", {"signed": False}, ""),
        ("run_3", {}, ""),
        ("layers.3.mlp", {}, "mlp_out.3"),
        ("layers.3.self_attn", {}, "attn_out.3"),
        ("layers.7/seed1", {}, "resid_post.7"),
        ("embed_tokens", {}, "embed_tokens"),
        ("layers.3.mlp.act_fn", {}, "layers.3.mlp.act_fn"),
    ],
)
def test_code_and_reconstruction(tmp_path, name, settings, hookpoint, dtype):
    draw = Draw(1)
    w = {key: tensor.to(dtype) for key, tensor in weights(draw).items()}
    x = draw(40, d)
    folder = write(tmp_path / name, {"cfg.json": CONFIG | settings, "sae.safetensors": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w))
    place = {"model": hookpoint}
    assert_provenance(
        loaded, folder, "sparsify", hookpoint=place, norm="raw activations", bos_excluded=None
    )
    assert loaded.sources.widths == (d,)


def test_the_run_s_model_decides_whether_an_mlp_output_is_a_hookpoint(tmp_path):
    files = {"cfg.json": CONFIG, "sae.safetensors": weights(Draw())}
    for model, place in (
        ("meta-llama/Llama-3.2-1B", "mlp_out.3"),
        ("google/gemma-2-2b", "layers.3.mlp"),
    ):
        run = write(tmp_path / model, {"config.json": {"sae": {}, "model": model}})
        for folder in (run / "layers.3.mlp", run / "layers.3.mlp" / "seed2"):
            assert crosscoder.load(write(folder, files)).sources.items[0].hookpoint == place


@pytest.mark.parametrize("missing", ["k", "expansion_factor", "multi_topk"])
def test_defaults_are_those_of_the_library(tmp_path, missing):
    draw, latents = Draw(2), 32 * d
    w = {
        "encoder.weight": draw(latents, d),
        "encoder.bias": draw(latents),
        "W_dec": draw(latents, d),
        "b_dec": draw(d),
    }
    x = draw(40, d)
    settings = CONFIG | {"num_latents": 0, "expansion_factor": 32, "k": 32}
    del settings[missing]
    loaded = crosscoder.load(write(tmp_path, {"cfg.json": settings, "sae.safetensors": w}))
    assert_agrees(loaded, x, *formula(x, w, k=32))


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ({"transcode": True}, {}, "is a transcoder"),
        ({"skip_connection": True}, {"W_skip": torch.eye(d)}, "is a transcoder"),
        ({}, {"W_skip": torch.eye(d)}, "is a skip transcoder"),
        ({"activation": "groupmax"}, {}, "activation is 'groupmax'"),
        ({"signed": True}, {}, "signed"),
        ({"num_latents": 2 * F}, {}, r"'encoder.weight' has shape \[32, 8\]"),
    ],
)
def test_unsupported_settings_are_refused(tmp_path, settings, more, message):
    files = {"cfg.json": CONFIG | settings, "sae.safetensors": weights(Draw()) | more}
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))
