"""dictionary_learning's crosscoders and their formula, models m and latents i:

x'_m = (x_m − mean_m) · s_m      r = relu(Σ_m x'_m E_m + b)
f = r · [r · n > θ]              x̂_m = (f D_m + c_m) / (s_m + 1e-8) + mean_m

The encoder of a decoupled one reads (x'_m − mean_m) · s_m.
"""

import torch

from tests.helpers.foreign import write
from tests.reference.formats.files import Draw, F, d, step_above, to_double

M, THETA = 2, 6.0
TRAINER = {
    "layer": 13,
    "lm_name": "google/gemma-2-2b-it-google/gemma-2-2b",
    "dict_class": "BatchTopKCrossCoder",
}
# of a release with the four tensors only
OLD = {
    "activation_dim": d,
    "dict_size": F,
    "encoder_layers": None,
    "init_with_transpose": True,
    "num_layers": M,
}
OLD |= {"norm_init_scale": None, "same_init_for_all_layers": False}
SIZES = {
    "activation_dim": d,
    "dict_size": F,
    "num_layers": M,
    "activation_mean": None,
    "activation_std": None,
}
IDS = {"CROSSCODER": 1, "SAE": 2, "MIXED": 3, "NONE": 4, "DECOUPLED": 5}
PAIR = {"base": "resid_post.13", "chat": "resid_post.13"}


def weights(draw: Draw) -> dict[str, torch.Tensor]:
    unequal = torch.tensor([0.5, 2.0])[:, None, None]
    w = {"encoder.weight": draw(M, d, F) * unequal, "encoder.bias": draw(F)}
    return w | {"decoder.weight": draw(M, F, d) * unequal, "decoder.bias": draw(M, d)}


def batch_topk(draw: Draw, name: str, threshold: torch.Tensor) -> dict[str, torch.Tensor]:
    buffers = {
        "code_normalization_id": torch.tensor(IDS[name]),
        "k": torch.tensor(4, dtype=torch.int32),
    }
    return weights(draw) | buffers | {"threshold": threshold}


def normaliser(draw: Draw, s: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "activation_mean": draw(M, d),
        "activation_std": draw(M, d).abs(),
        "activation_global_scale": s,
        "target_rms": torch.tensor(1.0),
    }


def score(
    w: dict[str, torch.Tensor], name: str, alpha: tuple[float, float] = (1.0, 0.1)
) -> torch.Tensor:
    """Return n_i from the decoder in the file."""
    a = w["decoder.weight"].double().norm(dim=2)
    total, root = a[0] + a[1], (a[0] ** 2 + a[1] ** 2).sqrt()
    mixed = alpha[0] * root + alpha[1] * total
    return {
        "CROSSCODER": total,
        "SAE": root,
        "MIXED": mixed,
        "NONE": torch.ones(F).double(),
        "DECOUPLED": a,
    }[name]


def formula(x, w, theta=None, n=None, mean=0.0, s=None):
    """Return code [n, F] (decoupled: [n, M · F]) and reconstruction [n, M, d]."""
    x, w = x.double(), to_double(w)
    s = torch.ones(M).double() if s is None else s.double().expand(M)
    scaled = (x - mean) * s[:, None]
    if theta is not None and theta.ndim:  # decoupled: its encode calls another, and each normalises
        scaled = (scaled - mean) * s[:, None]
    r = (sum(scaled[:, m] @ w["encoder.weight"][m] for m in range(M)) + w["encoder.bias"]).relu()
    each = [r] * M
    if theta is not None and theta.ndim:
        each = [r * step_above(r * n[m], theta[m].double()) for m in range(M)]
    elif theta is not None:
        each = [r * step_above(r * n, theta.double())] * M
    recon = [
        (each[m] @ w["decoder.weight"][m] + w["decoder.bias"][m]) / (s[m] + 1e-8) for m in range(M)
    ]
    f = torch.cat(each, dim=1) if theta is not None and theta.ndim else each[0]
    return f, torch.stack(recon, dim=1) + mean


def raw(draw: Draw) -> torch.Tensor:
    return draw(40, M, d) * torch.tensor([1.0, 3.0])[:, None]


def folder_of(path, w, settings, trainer=TRAINER):
    files = {"config.json": settings, "model.safetensors": w}
    return write(
        path / "crosscoder",
        files | ({"trainer_config.json": {"trainer": trainer}} if trainer else {}),
    )
