"""Gemma Scope, on raw activations.

f = pre · H(pre − θ) · H(pre), pre = x W_enc + b_enc, x̂ = f W_dec + b_dec.
"""

import numpy as np
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


def weights(draw: Draw) -> dict[str, torch.Tensor]:
    shapes = {"W_enc": (d, F), "b_enc": (F,), "W_dec": (F, d), "b_dec": (d,), "threshold": (F,)}
    return {name: draw(*shape) for name, shape in shapes.items()}  # some thresholds are below 0


def formula(x, w):
    x, w = x.double(), to_double(w)
    pre = x @ w["W_enc"] + w["b_enc"]
    f = pre * step_above(pre, w["threshold"]) * (pre > 0)
    return f, f @ w["W_dec"] + w["b_dec"]


def test_code_and_reconstruction(tmp_path):
    draw = Draw()
    w, x = weights(draw), draw(40, d, std=3)
    folder = write(tmp_path / "sae", {"params.npz": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w))
    assert_provenance(
        loaded,
        folder,
        "gemma_scope",
        hookpoint={"model": ""},
        norm="raw activations",
        bos_excluded=True,
    )
    torch.testing.assert_close(loaded.activation.threshold, w["threshold"])


def test_compressed_files_lower_case_keys_and_factors_of_one(tmp_path):
    draw = Draw(1)
    w, x = weights(draw), draw(40, d, std=3)
    lower = {name.replace("W_", "w_"): tensor.numpy() for name, tensor in w.items()}
    np.savez_compressed(tmp_path / "params.npz", **lower, scaling_factor=np.ones(F, np.float32))
    assert_agrees(crosscoder.load(tmp_path), x, *formula(x, w))


def test_scaling_factors_other_than_one_are_refused(tmp_path):
    write(tmp_path, {"params.npz": weights(Draw()) | {"scaling_factor": torch.full((F,), 2.0)}})
    with pytest.raises(UserError, match="scaling_factor"):
        crosscoder.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "name", "hookpoint", "model"),
    [
        (
            "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
            "base",
            "resid_post.12",
            "google/gemma-2-2b",
        ),
        (
            "gemma-scope-9b-it-res/layer_20/width_16k/average_l0_91",
            "chat",
            "resid_post.20",
            "google/gemma-2-9b-it",
        ),
        (
            "gemma-scope-2b-pt-mlp/layer_0/width_16k/average_l0_119",
            "base",
            "mlp_out.0",
            "google/gemma-2-2b",
        ),
        (
            "gemma-scope-9b-pt-att/layer_7/width_16k/average_l0_70",
            "base",
            "attn_z.7",
            "google/gemma-2-9b",
        ),
        (
            "models--google--gemma-scope-9b-pt-att/layer_7/width_16k/average_l0_70",
            "base",
            "attn_z.7",
            "google/gemma-2-9b",
        ),
    ],
)
def test_the_path_determines_model_and_site(small, tmp_path, path, name, hookpoint, model):
    folder = write(tmp_path / path, {"params.npz": weights(Draw())})
    loaded = crosscoder.load(folder)
    assert_provenance(loaded, folder, "gemma_scope", hookpoint={name: hookpoint}, bos_excluded=True)
    assert loaded.sources.widths == (d,)
    assert loaded.provenance["pair"]["lms"] == {name: {"weights": model}}


def test_a_layer_alone_does_not_determine_the_site(small, tmp_path):
    folder = write(tmp_path / "layer_12/width_16k/average_l0_82", {"params.npz": weights(Draw())})
    assert_provenance(
        crosscoder.load(folder), folder, "gemma_scope", hookpoint={"model": ""}, bos_excluded=True
    )


def test_embeddings_are_divided_by_their_factor(small, tmp_path):
    # stored weights expect rows before they are multiplied by √d; what the model's embedding gives
    # is multiplied
    draw = Draw(2)
    w, x = weights(draw), draw(40, d, std=3 * d**0.5)
    folder = write(
        tmp_path / "gemma-scope-2b-pt-res/embedding/width_16k/average_l0_6", {"params.npz": w}
    )
    f, recon = formula(x / d**0.5, w)
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, f, recon * d**0.5)
    assert_provenance(loaded, folder, "gemma_scope", hookpoint={"base": "embed"}, bos_excluded=True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("layer_12/width_4k/average_l0_82", r"4,096 latents .* has 32"),
        (
            "gemma-scope-2b-pt-res/layer_12/width_32/average_l0_82",
            "width 2304 at resid_post, but .* reads 8",
        ),
        ("gemma-scope-2b-pt-transcoders/layer_12/width_32/average_l0_82", "is a transcoder"),
    ],
)
def test_weights_that_contradict_the_path_are_refused(tmp_path, path, message):
    folder = write(tmp_path / path, {"params.npz": weights(Draw())})
    with pytest.raises(UserError, match=message):
        crosscoder.load(folder)
