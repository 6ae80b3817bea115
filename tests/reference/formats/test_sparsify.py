"""sparsify: f = the k largest of relu((x − b_dec) Eᵀ + b), x̂ = f W_dec + b_dec."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.foreign import write
from tests.reference.formats.files import Draw, F, agrees, d, double, largest, tells

K = 5
CONFIG = {"d_in": d, "expansion_factor": F // d, "normalize_decoder": True, "num_latents": F, "k": K}
CONFIG |= {"multi_topk": False, "skip_connection": False}


def weights(draw: Draw) -> dict[str, torch.Tensor]:
    return {"encoder.weight": draw(F, d), "encoder.bias": draw(F), "W_dec": draw(F, d), "b_dec": draw(d)}


def formula(x, w):
    x, w = x.double(), double(w)
    pre = (x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    f = pre.relu() * largest(pre, K)
    return f, f @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "said", "hookpoint"),
    [
        ("layers.10", {}, "resid_post.10"),
        ("layers_10", {"num_latents": 0}, "resid_post.10"),
        ("h.5", {"transcode": False, "activation": "topk"}, "resid_post.5"),
        ("folder", {"signed": False}, ""),
    ],
)
def test_code_and_reconstruction(tmp_path, name, said, hookpoint, dtype):
    draw = Draw(1)
    w = {key: tensor.to(dtype) for key, tensor in weights(draw).items()}
    x = draw(40, d)
    folder = write(tmp_path / name, {"cfg.json": CONFIG | said, "sae.safetensors": w})
    loaded = crosscoder.load(folder)
    agrees(loaded, x, *formula(x, w))
    place = {"model": hookpoint}
    tells(loaded, folder, "sparsify", hookpoint=place, norm="raw activations", bos_excluded=None)
    assert loaded.sources.widths == (d,)


@pytest.mark.parametrize(
    ("said", "more", "message"),
    [
        ({"transcode": True}, {}, "is a transcoder"),
        ({"skip_connection": True}, {"W_skip": torch.eye(d)}, "is a transcoder"),
        ({}, {"W_skip": torch.eye(d)}, "is a skip transcoder"),
        ({"activation": "groupmax"}, {}, "activation is 'groupmax'"),
        ({"signed": True}, {}, "signed"),
        ({"num_latents": 2 * F}, {}, r"'encoder.weight' has shape \[32, 8\]"),
    ],
)
def test_what_is_read_in_another_way_is_refused(tmp_path, said, more, message):
    files = {"cfg.json": CONFIG | said, "sae.safetensors": weights(Draw()) | more}
    with pytest.raises(UserError, match=message):
        crosscoder.load(write(tmp_path, files))
