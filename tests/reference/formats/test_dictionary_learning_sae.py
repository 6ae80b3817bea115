"""dictionary_learning's SAEs: pre = x̃ E + b, x̂ = f D + c; x̃ = x − c with a pre-bias, else x."""

import pytest
import torch

import crosscoder
from crosscoder.core.activations.jumprelu import JumpReLU
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

K, THETA = 5, torch.tensor(1.5)
PLACE = {"chat": "resid_post.13"}
LINEAR = {"encoder.weight": (F, d), "encoder.bias": (F,), "decoder.weight": (d, F)}
MATRICES = {"W_enc": (d, F), "b_enc": (F,), "W_dec": (F, d), "b_dec": (d,)}
GATED = {"decoder_bias": (d,), "encoder.weight": (F, d), "decoder.weight": (d, F)}
CLASSES = {
    "AutoEncoder": {"bias": (d,), **LINEAR},
    "AutoEncoderNew": {"decoder.bias": (d,), **LINEAR},
    "GatedAutoEncoder": {"r_mag": (F,), "gate_bias": (F,), "mag_bias": (F,), **GATED},
    "AutoEncoderTopK": {"b_dec": (d,), **LINEAR},
    "BatchTopKSAE": {"b_dec": (d,), **LINEAR},
    "MatryoshkaBatchTopKSAE": MATRICES,
    "JumpReluAutoEncoder": {"threshold": (F,), **MATRICES},
}


def weights(draw: Draw, kind: str) -> dict[str, torch.Tensor]:
    w = {name: draw(*shape, std=0.7) for name, shape in CLASSES[kind].items()}
    if "TopK" in kind:
        w |= {"k": torch.tensor(K, dtype=torch.int32), "threshold": THETA}
    if kind == "MatryoshkaBatchTopKSAE":
        w["group_sizes"] = torch.tensor([8, 24])
    return w


def config(kind: str, **other) -> dict:
    trainer = {"dict_class": kind, "activation_dim": d, "dict_size": F, "k": K, "layer": 13}
    trainer |= {"lm_name": "google/gemma-2-2b-it", "submodule_name": "resid_post_layer_13"}
    return {"trainer": trainer | other, "buffer": {"ctx_len": 1024}}


def formula(x, w, kind):
    x, w = x.double(), to_double(w)
    if "W_enc" in w:
        E, D = w["W_enc"], w["W_dec"]
    else:
        E, D = w["encoder.weight"].T, w["decoder.weight"].T
    names = {
        "AutoEncoder": "bias",
        "AutoEncoderNew": "decoder.bias",
        "GatedAutoEncoder": "decoder_bias",
    }
    c = w[names.get(kind, "b_dec")]
    product = (x if kind in ("AutoEncoderNew", "JumpReluAutoEncoder") else x - c) @ E
    if kind == "GatedAutoEncoder":
        f = (
            step_above(product + w["gate_bias"], 0)
            * (product * w["r_mag"].exp() + w["mag_bias"]).relu()
        )
        return f, f @ D + c
    pre = product + w["b_enc" if "W_enc" in w else "encoder.bias"]
    f = pre.relu()
    if kind == "AutoEncoderTopK":
        f = f * select_largest(pre, K)
    elif "threshold" in w:
        f = f * step_above(pre, w["threshold"])
    recon = f @ D + c
    if (
        kind == "AutoEncoder"
    ):  # its loader brings the decoder to norm 1, and the norms into the code
        f = f * D.norm(dim=1)
    return f, recon


@pytest.mark.parametrize("kind", list(CLASSES))
def test_code_and_reconstruction(tmp_path, kind):
    draw = Draw(7)
    w, x = weights(draw, kind), draw(40, d)
    folder = write(tmp_path / "sae", {"config.json": config(kind), "ae.pt": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, kind))
    assert_provenance(
        loaded, folder, "dictionary_learning_sae", hookpoint=PLACE, norm="raw activations"
    )
    assert loaded.sources.widths == (d,)
    if kind == "AutoEncoder":
        torch.testing.assert_close(loaded.W_dec.norm(dim=1), torch.ones(F))
    if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        assert type(loaded.activation) is JumpReLU
        assert torch.equal(loaded.activation.threshold, THETA.expand(F))


@pytest.mark.parametrize("kind", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_an_unset_threshold_is_plain_relu(tmp_path, kind):
    draw = Draw(1)
    w, x = weights(draw, kind), draw(40, d)
    f, recon = formula(x, w | {"threshold": torch.tensor(0.0)}, kind)
    files = {"config.json": config(kind), "ae.pt": w | {"threshold": torch.tensor(-1.0)}}
    assert_agrees(crosscoder.load(write(tmp_path, files)), x, f, recon)


def test_k_may_be_only_in_the_settings(tmp_path):
    draw = Draw(4)
    w, x = weights(draw, "AutoEncoderTopK"), draw(40, d)
    stored = {name: tensor for name, tensor in w.items() if name != "k"}
    files = {"config.json": config("AutoEncoderTopK"), "ae.pt": stored}
    assert_agrees(
        crosscoder.load(write(tmp_path / "sae", files)), x, *formula(x, w, "AutoEncoderTopK")
    )
    for changes, message in (
        ({"k": None}, "lacks 'k'"),
        ({"k": K + 1}, "k is 5, but the trainer's settings say 6"),
    ):
        held = stored if changes["k"] is None else w
        with pytest.raises(UserError, match=message):
            crosscoder.load(
                write(
                    tmp_path / message[:3],
                    {"config.json": config("AutoEncoderTopK", **changes), "ae.pt": held},
                )
            )


def test_compiled_modules_have_a_prefix(tmp_path):
    draw = Draw(2)
    w, x = weights(draw, "AutoEncoderNew"), draw(40, d)
    stored = {f"_orig_mod.{name}": tensor for name, tensor in w.items()}
    folder = write(tmp_path, {"config.json": config("AutoEncoderNew"), "ae.pt": stored})
    assert_agrees(crosscoder.load(folder), x, *formula(x, w, "AutoEncoderNew"))


@pytest.mark.parametrize("s", [None, 0.2, 2e-4])
def test_batch_topk_from_the_hub_with_its_normaliser(tmp_path, s):
    """Read mean and std [d] and a scalar scale of one model; NaN means no normaliser."""
    draw = Draw(3)
    w, x = weights(draw, "BatchTopKSAE"), draw(40, d)
    mean, std = draw(d), draw(d).abs()
    f, recon = formula(x, w, "BatchTopKSAE")
    if s:
        x = (x.double() / s + mean.double()).float()  # so that the weights read the same
        f, recon = formula((x.double() - mean) * s, w, "BatchTopKSAE")
        recon = recon / (s + 1e-8) + mean
    else:
        mean, std = torch.full((d,), torch.nan), torch.full((d,), torch.nan)
    buffers = {"activation_mean": mean, "activation_std": std, "target_rms": torch.tensor(1.0)}
    buffers["activation_global_scale"] = torch.tensor(s or 1.0)
    settings = {"activation_dim": d, "dict_size": F, "k": 100}
    files = {
        "config.json": settings,
        "trainer_config.json": {"trainer": config("BatchTopKSAE")["trainer"]},
    }
    folder = write(tmp_path / "sae", files | {"model.safetensors": w | buffers})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, f, recon)
    norm = "(x − mean) · s" if s else "raw activations"
    assert_provenance(loaded, folder, "dictionary_learning_sae", hookpoint=PLACE, norm=norm)


@pytest.mark.parametrize(
    ("changes", "hookpoint", "notes"),
    [
        (
            {"submodule_name": "mlp_out_layer_3", "layer": 3},
            "mlp_out.3",
            {"submodule_name": "mlp_out_layer_3"},
        ),
        (
            {"submodule_name": "mlp_out_layer_3"},
            "mlp_out.3",
            {"submodule_name": "mlp_out_layer_3", "layer": 13},
        ),
        ({"submodule_name": None}, "resid_post.13", {"submodule_name": None}),
        (
            {"submodule_name": "transformer_wte"},
            "transformer_wte",
            {"submodule_name": "transformer_wte"},
        ),
        ({"submodule_name": None, "layer": None}, "", {}),
    ],
)
def test_the_place_that_the_trainer_names(tmp_path, changes, hookpoint, notes):
    files = {
        "config.json": config("AutoEncoder", **changes),
        "ae.pt": weights(Draw(), "AutoEncoder"),
    }
    folder = write(tmp_path / "sae", files)
    loaded = crosscoder.load(folder)
    assert_provenance(loaded, folder, "dictionary_learning_sae", hookpoint={"chat": hookpoint})
    keys = ("submodule_name", "layer")
    assert {key: loaded.provenance[key] for key in keys if key in loaded.provenance} == notes


def test_another_class_is_refused(tmp_path):
    files = {"config.json": config("IdentityDict"), "ae.pt": weights(Draw(), "AutoEncoder")}
    with pytest.raises(UserError, match="dict_class is 'IdentityDict'"):
        crosscoder.load(write(tmp_path, files))
