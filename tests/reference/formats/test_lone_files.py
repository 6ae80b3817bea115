"""Single files: Qwen Scope, Goodfire and qresearch, and pairs NAME.pt, NAME_cfg.json."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats import test_kissane as kissane
from tests.reference.formats.files import (
    Draw,
    F,
    assert_agrees,
    assert_provenance,
    d,
    select_largest,
    to_double,
)

K, WIDE = 5, 1024
REPOSITORY = "SAE-Res-Qwen3-1.7B-Base-W1K-L0_5"


# --- Qwen Scope ---


def layer(draw: Draw) -> dict[str, torch.Tensor]:
    return {"W_enc": draw(WIDE, d), "b_enc": draw(WIDE), "W_dec": draw(d, WIDE), "b_dec": draw(d)}


def top(x, w):
    x, w = x.double(), to_double(w)
    pre = x @ w["W_enc"].T + w["b_enc"]
    f = pre.relu() * select_largest(pre, K)
    return f, f @ w["W_dec"].T + w["b_dec"]


def agrees_sparsely(loaded, x, f, recon) -> None:
    """Check a sparse code and the reconstruction."""
    code = loaded.encode(x)
    torch.testing.assert_close(code.to_dense().double(), f, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(loaded.decode(code).double(), recon, atol=1e-4, rtol=1e-5)


def test_a_layer_of_qwen_scope(tmp_path):
    draw = Draw()
    first, second, x = layer(draw), layer(draw), draw(20, d)
    folder = write(tmp_path / REPOSITORY, {"layer0.sae.pt": first})
    loaded = crosscoder.load(folder)
    agrees_sparsely(loaded, x, *top(x, first))
    assert_provenance(loaded, folder, "qwen_scope", hookpoint={"base": "resid_post.0"})
    assert loaded.provenance["pair"]["lms"] == {"base": {"weights": "Qwen/Qwen3-1.7B-Base"}}
    write(folder, {"layer12.sae.pt": second})
    with pytest.raises(UserError, match=r"holds 2 layers: name one, e\.g\. .*layer0\.sae\.pt"):
        crosscoder.load(folder)
    loaded = crosscoder.load(folder / "layer12.sae.pt")
    agrees_sparsely(loaded, x, *top(x, second))
    assert loaded.sources.items[0].hookpoint == "resid_post.12"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("downloads", "does not say k"),
        ("SAE-Res-Qwen3-1.7B-Base-W2K-L0_5", "names 2,048 latents"),
        ("SAE-Res-Qwen3-1.7B-Base-W1K-L0_0", "k = 0"),
        ("SAE-Res-Qwen3-1.7B-Base-W1K-L0_2000", "k = 2000"),
    ],
)
def test_names_without_model_or_k_are_refused(tmp_path, name, message):
    folder = write(tmp_path / name, {"layer0.sae.pt": layer(Draw())})
    with pytest.raises(UserError, match=message):
        crosscoder.load(folder)


# --- Goodfire, qresearch ---


@pytest.mark.parametrize(
    ("file", "suffix", "model"),
    [
        (
            "Llama-3.1-8B-Instruct-SAE-l19.pth",
            "_linear",
            {"chat": "meta-llama/Llama-3.1-8B-Instruct"},
        ),
        (
            "Llama-3.3-70B-Instruct-SAE-l50.pt",
            "_linear",
            {"chat": "meta-llama/Llama-3.3-70B-Instruct"},
        ),
        (
            "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt",
            "",
            {"base": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"},
        ),
        ("mine.pt", "", {}),
    ],
)
def test_relu_saes_in_one_file(tmp_path, file, suffix, model):
    draw = Draw(1)
    x = draw(40, d)
    w = {f"encoder{suffix}.weight": draw(F, d), f"encoder{suffix}.bias": draw(F)}
    w |= {f"decoder{suffix}.weight": draw(d, F), f"decoder{suffix}.bias": draw(d)}
    E, b, D, c = (tensor.double() for tensor in w.values())
    f = (x.double() @ E.T + b).relu()
    folder = write(tmp_path / "sae", {file: w})
    for spec in (folder, folder / file):
        loaded = crosscoder.load(spec)
        assert_agrees(loaded, x, f, f @ D.T + c)
    layers = {"l19": "resid_post.19", "l50": "resid_post.50"}
    place = layers.get(file.rpartition("-")[2].partition(".")[0], "")
    assert_provenance(loaded, folder, "linear", hookpoint={next(iter(model), "model"): place})
    lms = {name: {"weights": weights} for name, weights in model.items()}
    assert (loaded.provenance["pair"] or {"lms": {}})["lms"] == lms


def test_other_torch_files_have_no_known_layout(tmp_path):
    folder = write(tmp_path, {"model.pt": {"lm_head.weight": torch.ones(3, 4)}})
    for spec in (folder, folder / "model.pt"):
        with pytest.raises(UserError, match="no known layout"):
            crosscoder.load(spec)


# --- NAME.pt and NAME_cfg.json ---


def test_a_named_crosscoder_is_read_with_its_settings(tmp_path):
    draw = Draw(2)
    w, other, x = kissane.weights(draw), kissane.weights(draw), kissane.raw(draw)
    files = {"run_a.pt": w, "run_a_cfg.json": kissane.CONFIG, "notes_cfg.json": {}}
    folder = write(tmp_path / "there", files)
    loaded = crosscoder.load(folder, input_scale=kissane.SCALE)
    assert_agrees(loaded, x, *kissane.formula(x, w, kissane.SCALE))
    write(folder, {"run_b.pt": other, "run_b_cfg.json": kissane.CONFIG})
    with pytest.raises(UserError, match=r"several dictionaries \(run_a\.pt, run_b\.pt\): name one"):
        crosscoder.load(folder, input_scale=kissane.SCALE)
    loaded = crosscoder.load(folder / "run_b.pt", input_scale=kissane.SCALE)
    assert_agrees(loaded, x, *kissane.formula(x, other, kissane.SCALE))
    assert set(loaded.provenance["sha256"]) == {"run_b.pt", "run_b_cfg.json"}


def test_the_factors_of_lambda_2_64k_are_folded_in(tmp_path):
    """Read Nanda's crosscoder of GPT-2: no hook point, one source for each layer."""
    draw = Draw(3)
    layers = 3
    w = {
        "W_enc": draw(layers, d, F),
        "W_dec": draw(F, layers, d),
        "b_enc": draw(F),
        "b_dec": draw(layers, d),
    }
    settings = {
        "seed": 51,
        "dict_size": F,
        "enc_dtype": "fp32",
        "model_name": "gpt2-small",
        "site": "resid_post",
    }
    folder = write(tmp_path, {"lambda_2_64k.pt": w, "lambda_2_64k_cfg.json": settings})
    x, double_w = draw(40, layers, d), to_double(w)
    f = (
        sum(x[:, i].double() @ double_w["W_enc"][i] for i in range(layers)) + double_w["b_enc"]
    ).relu()
    recon = torch.stack(
        [f @ double_w["W_dec"][:, i] + double_w["b_dec"][i] for i in range(layers)], dim=1
    )
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, f, recon)
    assert loaded.provenance["hookpoint"] == {f"base.{i}": f"resid_post.{i}" for i in range(layers)}
    assert loaded.provenance["pair"]["lms"] == {"base": {"weights": "gpt2-small"}}
    # a numbered save is as training left it
    unnamed = write(tmp_path / "version_12", {"1.pt": w, "1_cfg.json": settings})
    with pytest.raises(UserError, match="where they were folded in, 1"):
        crosscoder.load(unnamed)


def test_an_sae_in_a_pair_of_files(tmp_path):
    draw = Draw(4)
    name = "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.80e+00_ds24576_bs4096_v9"
    w, x = (
        {"W_enc": draw(d, F), "W_dec": draw(F, d), "b_enc": draw(F), "b_dec": draw(d)},
        draw(40, d),
    )
    settings = {
        "act_size": d,
        "dict_size": F,
        "act_name": "blocks.5.attn.hook_z",
        "model_name": "gpt2-small",
    }
    folder = write(tmp_path / "sae", {f"{name}.pt": w, f"{name}_cfg.json": settings})
    x64, w64 = x.double(), to_double(w)
    f = ((x64 - w64["b_dec"]) @ w64["W_enc"] + w64["b_enc"]).relu()
    for spec in (folder, folder / f"{name}.pt"):
        loaded = crosscoder.load(spec)
        assert_agrees(loaded, x, f, f @ w64["W_dec"] + w64["b_dec"])
    assert_provenance(loaded, folder, "kissane_sae", hookpoint={"base": "attn_z.5"})
