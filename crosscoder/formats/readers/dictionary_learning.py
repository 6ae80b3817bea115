"""dictionary_learning crosscoders of every generation. Minder, Dumas et al. 2025, 2504.02922.

Files: `config.json`, `model.safetensors`.

    r = relu(Σ_m x'_m W_m + b)      x' = N(x) = (x − mean) · s
    CrossCoder           f = r
    BatchTopKCrossCoder  f = r · [r · n > θ]      θ = −1: plain ReLU
    x̂_m = (f D_m + c_m) / (s_m + 1e-8) + mean_m

    encoder.weight [M, d, F]   encoder.bias [F]   decoder.weight [M, F, d]   decoder.bias [M, d]
    activation_mean, activation_std [M, d] (NaN: none)   activation_global_scale s, [] or [M]
    target_rms []   code_normalization_id []   k []
    threshold [], or [M] where the code is decoupled

The code normalisation derives n_i from the decoder norms a_m = ‖D_m,i‖ of the file: 1 Σ a; 2 √Σ a²;
3 both, weighted by alpha_sae and alpha_cc; 4 1; 5 decoupled: each model by its own a_m. θ / n_i is
then a JumpReLU's threshold per latent, and a decoupled latent becomes a row per model. Model 0 is
the base. (Their library reports f · n as activations.) Configurations:
dictionary_learning_settings.py.

A decoupled BatchTopKCrossCoder reads x' = N(N(x)): its encode normalises and calls another encode
that normalises again, in training and on raw activations alike. Reconstructions are mapped back
once, as above.
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.folding import split_per_source
from crosscoder.formats.model_sources import build_model_sources
from crosscoder.formats.readers.dictionary_learning_files import (
    FINISHED,
    find_shapes,
    require_weights,
    warn_of_checkpoint,
)
from crosscoder.formats.readers.dictionary_learning_normaliser import (
    EPSILON,
    fold_normaliser,
    take_normaliser,
)
from crosscoder.formats.readers.dictionary_learning_partition import take_partition
from crosscoder.formats.readers.dictionary_learning_settings import (
    DECOUPLED,
    DEFAULT_ALPHAS,
    MIXED,
    NONE,
    ROOT,
    SUM,
    Settings,
    read_hookpoint,
)
from crosscoder.formats.settings import format_value, read_setting, require_choice
from crosscoder.formats.tensors import Tensors
from crosscoder.formats.writers.dictionary_learning import FORMS, write

CLASSES = ("CrossCoder", "BatchTopKCrossCoder")
# classes of dfc_learning compute the same function; training held some of their weights at zero
DEDICATED = {
    "DedicatedFeatureCrossCoder": "CrossCoder",
    "DedicatedFeatureBatchTopKCrossCoder": "BatchTopKCrossCoder",
}


def fits(folder: Folder) -> bool:
    """Tell whether the weights are a crosscoder's: three axes."""
    return len(find_shapes(folder).get("encoder.weight", [])) == 3


def read(folder: Folder) -> Dictionary:
    """Read the crosscoder of several models at one hookpoint."""
    name = require_weights(folder)
    warn_of_checkpoint(folder, name)
    settings = Settings.from_folder(folder)
    file = folder.read_tensors(name)
    W_dec = file.take("decoder.weight", "M F d")
    b_dec = file.take("decoder.bias", "M d")
    W_enc = _take_encoder(file, settings)
    b_enc = file.take("encoder.bias", "F")
    M, d, n_latents = W_enc.shape
    _check_arguments(settings, name, {"num_layers": M, "activation_dim": d, "dict_size": n_latents})

    mean, scale = take_normaliser(file, "M d", M, d)
    is_selecting = _is_selecting(folder, settings, file)
    code = _take_code_normalization(file, settings, is_selecting)
    norms = W_dec.norm(dim=-1)
    selection_scale = _selection_scale(norms, code, settings)
    rows = W_enc.permute(2, 0, 1).flatten(1)
    columns = W_dec.transpose(0, 1)
    thresholds = None
    groups = None
    norm = "raw activations" if scale is None else "(x − mean) · s, one s for each model"
    if is_selecting and code == DECOUPLED:
        theta = file.take("threshold", "M")
        thresholds = _thresholds(theta[:, None], norms)
        if mean is not None and scale is not None:
            rows, b_enc = fold_normaliser(rows, b_enc, mean, scale)
            norm += "; twice where the encoder reads"
        if thresholds.any():
            rows, b_enc, columns, groups = split_per_source(rows, b_enc, W_dec)
            selection_scale = norms.flatten()
    elif is_selecting:
        thresholds = _thresholds(file.take("threshold", ""), selection_scale)
    file.drop(["k", "target_rms"])
    partition = take_partition(file, M, n_latents)
    file.finish()

    activation: Activation = ReLU()
    if thresholds is not None and thresholds.any():
        activation = JumpReLU.from_threshold(thresholds.flatten())
    lms = settings.split_model_names()
    hookpoint, notes = read_hookpoint(settings.trainer)
    notes |= _build_notes(settings, code, lms)
    if partition:
        notes["partition"] = partition
    if name not in FINISHED:
        notes["file"] = name
    return Dictionary(
        build_model_sources([d] * M, hookpoint),
        rows.contiguous(),
        b_enc,
        columns.flatten(1).contiguous(),
        b_dec.flatten(),
        activation,
        norm=norm,
        # this library's runs on Gemma 2 included BOS; the files do not say it for others
        bos=True if any("gemma-2" in lm for lm in lms) else None,
        mean=mean,
        scale=scale,
        epsilon=EPSILON,
        selection_scale=selection_scale,
        groups=groups,
        models=dict(zip(("base", "chat"), lms, strict=True)) if len(lms) == M == 2 else {},
        notes=notes,
    )


def _take_encoder(file: Tensors, settings: Settings) -> Tensor:
    """Take the encoder, [M, d, F]: zeros for a model that it does not read."""
    layers = settings.arguments.get("encoder_layers")
    if layers is None:
        return file.take("encoder.weight", "M d F")
    M = file.lengths["M"]
    if not _are_layers(layers, M):
        raise UserError(
            f"{settings.where}/config.json: encoder_layers must be distinct numbers below {M}, "
            f"found {format_value(layers)}"
        )
    stored = file.take("encoder.weight", "E d F")
    if len(stored) != len(layers):
        raise UserError(
            f"{settings.where}/config.json: encoder_layers names {len(layers)} models, "
            f"but {file.file} reads {len(stored)}"
        )
    W_enc = stored.new_zeros(M, *stored.shape[1:])
    W_enc[layers] = stored
    return W_enc


def _are_layers(layers: Any, M: int) -> bool:
    if not isinstance(layers, list):
        return False
    are_indices = all(type(layer) is int and 0 <= layer < M for layer in layers)
    return are_indices and len(set(layers)) == len(layers)


def _check_arguments(settings: Settings, name: str, sizes: dict[str, int]) -> None:
    """Refuse constructor arguments that contradict the weights or change their function."""
    config = f"{settings.where}/config.json"
    for key, size in sizes.items():
        stated = read_setting(settings.arguments, key, int, config, size)
        if stated != size:
            raise UserError(f"{config} says {key} = {stated}, but {name} has {size}")
    if settings.arguments.get("latent_processor") is not None:
        raise UserError(
            f"{settings.where}: latents that pass through a function (latent_processor) "
            "are not supported"
        )


def _is_selecting(folder: Folder, settings: Settings, file: Tensors) -> bool:
    """Tell whether it selects by a threshold, as BatchTopKCrossCoder does.

    Raises:
        UserError: Class and tensors disagree.
    """
    kind = settings.dict_class
    if kind is not None:
        require_choice(kind, (*CLASSES, *DEDICATED), f"{folder.path}: dict_class")
        kind = DEDICATED.get(kind, kind)
    if "threshold" in file:
        if kind == "CrossCoder":
            raise UserError(
                f"{folder.path} says it is a CrossCoder, which has no threshold, "
                f"but {file.file} holds one"
            )
        return True
    if kind == "BatchTopKCrossCoder" or "k" in file:
        raise UserError(
            f"{folder.path} says it is a BatchTopKCrossCoder, but {file.file} holds no threshold"
        )
    return False


def _take_code_normalization(file: Tensors, settings: Settings, is_selecting: bool) -> int:
    stored = None
    if "code_normalization_id" in file:
        stored = int(file.take("code_normalization_id", ""))
    return settings.find_code_normalization(stored, is_selecting)


def _thresholds(theta: Tensor, n: Tensor) -> Tensor:
    """Return θ / n; 0 where θ is negative (all of relu is active), infinity where n is 0."""
    reached = (theta / n).where(n > 0, float("inf"))
    return reached.where(theta >= 0, 0.0)


def _selection_scale(norms: Tensor, code: int, settings: Settings) -> Tensor:
    """Return n, [n_latents], from norms [M, n_latents]."""
    total = norms.sum(0)
    root = norms.square().sum(0).sqrt()
    if code == MIXED:
        return settings.find_alpha("sae") * root + settings.find_alpha("cc") * total
    return {SUM: total, ROOT: root, NONE: torch.ones_like(total), DECOUPLED: total}[code]


def _build_notes(settings: Settings, code: int, lms: list[str]) -> dict[str, Any]:
    """Return what the provenance says of the settings."""
    notes: dict[str, Any] = {}
    if code == MIXED:
        alphas = {term: settings.find_alpha(term) for term in DEFAULT_ALPHAS}
        notes["code_normalization_alphas"] = alphas
    notes["dict_class"] = settings.dict_class
    notes["code_normalization"] = code
    if lms:
        notes["lms"] = lms
    return notes


LAYOUT = Layout(
    "dictionary_learning",
    (),
    read,
    optional=(*FINISHED, "config.json", "trainer_config.json"),
    fits=fits,
    write=write,
    forms=FORMS,
)
