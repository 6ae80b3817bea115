"""dictionary_learning crosscoders: `config.json`, `model.safetensors`, both generations. Minder, Dumas et al. 2025, 2504.02922.

    r = relu(Σ_m x'_m W_m + b)      x' = (x − mean) · s      s = activation_global_scale, of each model or of all
    CrossCoder           f = r
    BatchTopKCrossCoder  f = r · [r · n > θ]      θ = −1: plain ReLU
    x̂_m = (f D_m + c_m) / (s_m + 1e-8) + mean_m

    encoder.weight [M, d, F]   encoder.bias [F]   decoder.weight [M, F, d]   decoder.bias [M, d]
    activation_mean, activation_std [M, d] (NaN: none)   activation_global_scale [] or [M]   target_rms []
    code_normalization_id []   k []   threshold [], or [M] where the code is decoupled

n_i comes from the decoder's norms a_m = ‖D_m,i‖ as they are in the file, by the code normalisation: 1 Σ a; 2 √Σ a²; 3 both,
weighed by alpha_sae and alpha_cc; 4 1; 5 decoupled: each model by its own a_m. Then θ / n_i is a JumpReLU's threshold per latent,
and a decoupled latent becomes a row per model. Model 0 is the base. (Their library reports f · n as activations.)
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, pair_of, per_source, role
from crosscoder.formats.dictionary_learning_write import SUM, write
from crosscoder.formats.folder import Folder, Tensors, setting

ROOT, MIXED, NONE, DECOUPLED = 2, 3, 4, 5
EPSILON = 1e-8  # that is added to s where reconstructions are divided by it
NAMES = {"CROSSCODER": SUM, "SAE": ROOT, "MIXED": MIXED, "NONE": NONE, "DECOUPLED": DECOUPLED}
WEIGHTS = ("model.safetensors", "cc_weights.pt", "model_final.pt")


def fits(folder: Folder) -> bool:
    """Whether the weights are a crosscoder's: three axes."""
    for name in filter(folder.has, WEIGHTS):
        if name == "model.safetensors":
            return len(folder.shapes(name).get("encoder.weight", [])) == 3
        return folder.has("config.json") and not folder.has("cfg.json")
    return False


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The crosscoder of several models at one hookpoint."""
    no_input_scale(given, folder)
    name = next(filter(folder.has, WEIGHTS))
    settings = folder.json("config.json")
    trainer = folder.json("trainer_config.json") if folder.has("trainer_config.json") else settings
    trainer = trainer["trainer"] if isinstance(trainer.get("trainer"), dict) else {}
    file = folder.tensors(name)
    W_enc, b_enc = file.take("encoder.weight", "M d F"), file.take("encoder.bias", "F")
    W_dec, b_dec = file.take("decoder.weight", "M F d"), file.take("decoder.bias", "M d")
    M, d, n_latents = W_enc.shape
    for key, size in {"num_layers": M, "activation_dim": d, "dict_size": n_latents}.items():
        if (said := setting(settings, key, int, f"{folder.path}/config.json", size)) != size:
            raise UserError(f"{folder.path}/config.json says {key} = {said}, but {name} has {size}")
    if settings.get("encoder_layers") is not None:
        raise UserError(f"{folder.path}: an encoder that reads some of the models only (encoder_layers) is not read")

    mean, scale = normaliser(file, "M d", M, d)
    code = int(file.take("code_normalization_id", "", missing=_named(settings)))
    norms = W_dec.norm(dim=-1)
    n = _scores(norms, code, settings, folder)
    kind = trainer.get("dict_class") or settings.get("dict_class")
    threshold = torch.tensor(0.0)
    if "threshold" in file:
        threshold = file.take("threshold", "M" if code == DECOUPLED else "").clamp(min=0)
    elif kind == "BatchTopKCrossCoder" or "k" in file:
        raise UserError(f"{folder.path} says it is a BatchTopKCrossCoder, but {name} holds no threshold")
    file.drop(["k", "target_rms"])
    file.done()

    rows, columns = W_enc.permute(2, 0, 1).flatten(1), W_dec.transpose(0, 1)
    plain: Activation = ReLU()
    groups = None
    if code == DECOUPLED and threshold.any():  # a row per model and latent, which writes to that model alone
        rows, b_enc, columns, groups = per_source(rows, b_enc, W_dec)
        plain, n = JumpReLU.of(threshold.repeat_interleave(n_latents) / norms.flatten()), norms.flatten()
    elif threshold.any():
        plain = JumpReLU.of(threshold / n)
    lms = _models(trainer)
    sources = pair_of([d] * M, place_of(trainer))
    notes = {"dict_class": kind, "code_normalization": code} | ({"lms": lms} if lms else {})
    return Dictionary(
        sources,
        rows.contiguous(),
        b_enc,
        columns.flatten(1).contiguous(),
        b_dec.flatten(),
        plain,
        norm="raw activations" if scale is None else "(x − mean) · s, one s for each model",
        # this library's runs on Gemma 2 kept BOS; what others left out is not in the files
        bos=True if any("gemma-2" in lm for lm in lms) else None,
        mean=mean,
        scale=scale,
        epsilon=EPSILON,
        selection_scale=n,
        groups=groups,
        models=dict(zip(("base", "chat"), lms, strict=True)) if len(lms) == M == 2 else {},
        notes=notes,
    )


def place_of(trainer: dict[str, Any]) -> str:
    """The hookpoint that a trainer's settings name."""
    return f"resid_post.{trainer['layer']}" if type(trainer.get("layer")) is int else ""


def normaliser(file: Tensors, axes: str, M: int, d: int) -> tuple[Tensor | None, Tensor | None]:
    """Mean and scale, [M · d] each, or None twice; `axes` are those of the mean in the file."""
    if "activation_mean" not in file:
        return None, None
    mean = file.take("activation_mean", axes, finite=False)
    std = file.take("activation_std", axes, missing=float("nan"), finite=False)
    given = file.left.get("activation_global_scale")
    if given is None or mean.isnan().any() or std.isnan().any():
        file.drop(["activation_global_scale"])
        if not (mean.isnan().all() and std.isnan().all()):
            raise UserError(f"{file.file}: its normaliser (activation_mean, activation_std, …) is not whole")
        return None, None
    s = file.take("activation_global_scale", "M" if given.ndim else "").expand(M)
    if not (s > 0).all():
        raise UserError(f"{file.file}: activation_global_scale is not positive")
    return mean.flatten(), (1 / s).repeat_interleave(d)


def _named(settings: dict[str, Any]) -> int:
    """The code normalisation that a configuration names; older files have none, and that was the sum."""
    name = settings.get("code_normalization")
    return NAMES.get(name.split(".")[-1].upper(), -1) if isinstance(name, str) else SUM


def _scores(norms: Tensor, code: int, settings: dict[str, Any], folder: Folder) -> Tensor:
    """n, [n_latents], from norms [M, n_latents]."""
    if code not in NAMES.values():
        raise UserError(f"{folder.path}: code normalisation {code} is not known; there is {NAMES}")
    where = f"{folder.path}/config.json"
    total, root = norms.sum(0), norms.square().sum(0).sqrt()
    if code == MIXED:
        sae = setting(settings, "code_normalization_alpha_sae", (int, float), where, 1.0)
        cc = setting(settings, "code_normalization_alpha_cc", (int, float), where, 0.1)
        return sae * root + cc * total
    return {SUM: total, ROOT: root, NONE: torch.ones_like(total), DECOUPLED: total}[code]


def _models(trainer: dict[str, Any]) -> list[str]:
    """[base, chat] of `<chat>-<base>`, where the one name is the other plus a suffix."""
    both = trainer.get("lm_name")
    if not isinstance(both, str):
        return []
    for cut, letter in enumerate(both):
        chat, base = both[:cut], both[cut + 1 :]
        if letter == "-" and base and chat.startswith(base) and chat != base and role(chat) == "chat":
            return [base, chat]
    return []


LAYOUT = Layout(
    "dictionary_learning", ("config.json",), read, optional=(*WEIGHTS, "trainer_config.json"), fits=fits, write=write
)
