"""Kissane et al.: x'_m = c_m x_m.

f = relu(Σ_m x'_m W_enc[m] + b_enc), x̂_m = (f W_dec[:, m] + b_dec[m]) / c_m.
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
    assert_tensors_close,
    d,
    to_double,
)

M = 2
SCALE = {"base": 0.28, "chat": 0.05}
CONFIG = {
    "seed": 49,
    "batch_size": 4096,
    "buffer_mult": 128,
    "lr": 5e-5,
    "num_tokens": 400_000_000,
    "l1_coeff": 2,
}
CONFIG |= {
    "beta1": 0.9,
    "beta2": 0.999,
    "d_in": d,
    "dict_size": F,
    "seq_len": 1024,
    "enc_dtype": "fp32",
}
CONFIG |= {
    "model_name": "gemma-2-2b",
    "site": "resid_pre",
    "device": "cuda:0",
    "dec_init_norm": 0.08,
}
CONFIG |= {"hook_point": "blocks.14.hook_resid_pre"}
PLACE = dict.fromkeys(SCALE, "resid_post.13")


def weights(draw: Draw) -> dict[str, torch.Tensor]:
    w = {"W_enc": draw(M, d, F), "W_dec": draw(F, M, d), "b_enc": draw(F), "b_dec": draw(M, d)}
    w["W_enc"][1] *= 3
    w["W_dec"][:, 1] *= 2
    return w


def raw(draw: Draw) -> torch.Tensor:
    return draw(40, M, d) * torch.tensor([3.0, 20.0])[:, None]


def formula(x, w, c):
    x, w, c = x.double(), to_double(w), list(c.values())
    f = (sum(c[m] * x[:, m] @ w["W_enc"][m] for m in range(M)) + w["b_enc"]).relu()
    return f, torch.stack([(f @ w["W_dec"][:, m] + w["b_dec"][m]) / c[m] for m in range(M)], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_code_and_reconstruction(tmp_path, dtype):
    draw = Draw()
    w = {name: tensor.to(dtype) for name, tensor in weights(draw).items()}
    x = raw(draw)
    folder = write(tmp_path / "blocks.14.hook_resid_pre", {"cfg.json": CONFIG, "cc_weights.pt": w})
    loaded = crosscoder.load(folder, input_scale=SCALE)
    assert_agrees(loaded, x, *formula(x, w, SCALE))
    norm = "x · √d / mean‖x‖, one factor for each model"
    assert_provenance(loaded, folder, "kissane", hookpoint=PLACE, norm=norm, bos_excluded=True)
    assert loaded.sources.widths == (d, d)
    assert loaded.sources.diff_pair == ("chat", "base")
    lms = {"base": {"weights": "google/gemma-2-2b"}, "chat": {"weights": "google/gemma-2-2b-it"}}
    assert loaded.provenance["pair"]["lms"] == lms
    # published norms are of the weights before folding
    norms = w["W_dec"].double().norm(dim=2).T
    assert_tensors_close(loaded.decoder_norms(), norms)
    assert_tensors_close(loaded.selection_scale, norms.sum(0))


def test_the_last_numbered_save_is_read(tmp_path):
    draw = Draw(1)
    old, new, x = weights(draw), weights(draw), raw(draw)
    names = {"model_name_A": "Qwen/Qwen2.5-0.5B", "model_name_B": "Qwen/Qwen2.5-0.5B-Instruct"}
    folder = write(
        tmp_path, {"9_cfg.json": CONFIG, "9.pt": old, "10_cfg.json": CONFIG | names, "10.pt": new}
    )
    loaded = crosscoder.load(folder, input_scale=SCALE)
    assert_agrees(loaded, x, *formula(x, new, SCALE))
    assert set(loaded.provenance["sha256"]) == {"10_cfg.json", "10.pt"}
    lms = {"base": {"weights": names["model_name_A"]}, "chat": {"weights": names["model_name_B"]}}
    assert loaded.provenance["pair"]["lms"] == lms


def test_missing_factors_are_requested_with_the_published_values(tmp_path):
    folder = write(tmp_path, {"cfg.json": CONFIG, "cc_weights.pt": weights(Draw())})
    with pytest.raises(
        UserError, match=r"'base': 0\.2758961493232058, 'chat': 0\.24422852496546169"
    ):
        crosscoder.load(folder)
