"""dictionary_learning SAEs of one model: weights with two axes (dictionary_learning_files.py).

    pre = x̃ Eᵀ + b      x̃ = x − c where the class subtracts its decoder bias c      x̂ = f D + c

    AutoEncoder         bias [d], encoder.weight [F, d], encoder.bias, decoder.weight [d, F]
                        relu, x̃
    AutoEncoderNew      encoder.*, decoder.weight, decoder.bias
                        relu, x
    GatedAutoEncoder    decoder_bias, encoder.weight, gate_bias, mag_bias, r_mag, decoder.weight
                        gated, x̃
    AutoEncoderTopK     encoder.*, decoder.weight, b_dec (and k, threshold)
                        the k largest of a token, x̃
    BatchTopKSAE        encoder.*, decoder.weight, b_dec, k, threshold
                        f = r · [r > θ], x̃
    MatryoshkaBatchTopKSAE, JumpReluAutoEncoder
                        W_enc [d, F], b_enc, W_dec [F, d], b_dec, threshold [] or [F]
                        x̃ and x

The settings name the class; without them the tensors decide. The code is that of each package's own
class: saprmarks' loads an AutoEncoder with ‖D‖ = 1, and crosscoder_learning's gated and JumpReLU
codes are f · ‖D‖.

The normaliser of newer files is that of one model (dictionary_learning_normaliser.py). Scaling in
training is undone before saving.
"""

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.folding import fold_gate
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.dictionary_learning_classes import (
    MATRIX_CLASSES,
    PRE_BIAS,
    find_class,
)
from crosscoder.formats.readers.dictionary_learning_files import (
    FINISHED,
    find_shapes,
    find_weights,
    is_saprmarks,
    require_weights,
    warn_of_checkpoint,
)
from crosscoder.formats.readers.dictionary_learning_normaliser import EPSILON, take_normaliser
from crosscoder.formats.readers.dictionary_learning_settings import Settings, read_hookpoint
from crosscoder.formats.settings import read_setting
from crosscoder.formats.tensors import Tensors

# classes whose code is f · ‖D‖
NORMED_BY_SAPRMARKS = ("AutoEncoder",)
NORMED_BY_OTHERS = ("GatedAutoEncoder", "JumpReluAutoEncoder")
MATRIX_NAMES = {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}


def fits(folder: Folder) -> bool:
    """Tell whether the weights are an SAE's: two axes, and the names of one of the classes."""
    shapes = find_shapes(folder)
    n_axes = len(shapes.get("encoder.weight", []))
    if n_axes == 2:
        return True
    if n_axes == 0 and find_weights(folder) == "ae.pt" and folder.has_file("config.json"):
        return True
    return shapes.keys() >= MATRIX_NAMES and len(shapes["W_enc"]) == 2


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one site."""
    name = require_weights(folder)
    warn_of_checkpoint(folder, name)
    settings = Settings.from_folder(folder)
    file = folder.read_tensors(name)
    kind = find_class(settings, file, is_saprmarks(name))
    W_enc, b_enc, W_dec, b_dec = _take_weights(file, kind)
    W_enc, activation = _take_activation(file, kind, settings, W_enc, b_enc)
    normed_classes = NORMED_BY_SAPRMARKS if is_saprmarks(name) else NORMED_BY_OTHERS
    if kind in normed_classes:
        norms = W_dec.norm(dim=-1)
        norms = norms.where(norms > 0, 1)
        W_enc = W_enc * norms[:, None]
        b_enc = b_enc * norms
        W_dec = W_dec / norms[:, None]
        if isinstance(activation, JumpReLU):
            activation = JumpReLU.from_threshold(activation.threshold * norms)
    d = W_enc.shape[1]
    mean, scale = take_normaliser(file, "d", 1, d)
    file.drop(["k", "threshold", "target_rms", "group_sizes"])
    file.finish()
    trainer = settings.trainer or settings.arguments
    model = trainer.get("lm_name")
    hookpoint, notes = read_hookpoint(trainer)
    sources, models = build_single_source(d, hookpoint, model if isinstance(model, str) else None)
    if name not in FINISHED:
        notes["file"] = name
    notes["dict_class"] = kind
    return Dictionary(
        sources,
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        activation,
        norm="raw activations" if scale is None else "(x − mean) · s",
        mean=mean,
        scale=scale,
        epsilon=EPSILON,
        pre_bias=bool(PRE_BIAS[kind]),
        selection_scale=torch.ones_like(b_enc),
        models=models,
        notes=notes,
    )


def _take_weights(file: Tensors, kind: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take W_enc [F, d], b_enc, W_dec [F, d] and b_dec."""
    if kind in MATRIX_CLASSES:
        W_enc = file.take("W_enc", "d F").T.contiguous()
        b_enc = file.take("b_enc", "F")
        W_dec = file.take("W_dec", "F d")
        return W_enc, b_enc, W_dec, file.take("b_dec", "d")
    W_enc = file.take("encoder.weight", "F d")
    W_dec = file.take("decoder.weight", "d F").T.contiguous()
    b_dec = file.take(PRE_BIAS[kind] or "decoder.bias", "d")
    b_enc = file.take("mag_bias" if kind == "GatedAutoEncoder" else "encoder.bias", "F")
    return W_enc, b_enc, W_dec, b_dec


def _take_activation(
    file: Tensors, kind: str, settings: Settings, W_enc: Tensor, b_enc: Tensor
) -> tuple[Tensor, Activation]:
    """Take the activation, and the encoder that belongs to it."""
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return W_enc, ReLU()
    if kind == "GatedAutoEncoder":
        b_gate = file.take("gate_bias", "F")
        r_mag = file.take("r_mag", "F")
        return fold_gate(W_enc, b_enc, b_gate, r_mag)
    if kind == "AutoEncoderTopK":
        return W_enc, TopK(_take_k(file, settings, len(b_enc)))
    if kind == "JumpReluAutoEncoder":
        return W_enc, JumpReLU.from_threshold(file.take("threshold", "F"))
    threshold = file.take("threshold", "").clamp(min=0)
    return W_enc, JumpReLU.from_threshold(threshold.expand(len(b_enc)))


def _take_k(file: Tensors, settings: Settings, n_latents: int) -> int:
    """Return k of the tensors, else of the run's settings, else of the class's arguments.

    Raises:
        UserError: There is no k, it exceeds the number of latents, or tensors and settings of the
            run disagree.
    """
    of_run = read_setting(settings.trainer, "k", int, f"{file.file}: trainer", None)
    k = int(file.take("k", "")) if "k" in file else of_run
    if k is None:
        k = read_setting(settings.arguments, "k", int, f"{settings.where}/config.json", None)
    if k is None:
        raise UserError(
            f"{file.file} lacks 'k', and neither the trainer's settings nor config.json have it"
        )
    if of_run not in (None, k):
        raise UserError(f"{file.file}: k is {k}, but the trainer's settings say {of_run}")
    if not 0 < k <= n_latents:
        raise UserError(f"{file.file}: k is {k}, but there are {n_latents} latents")
    return k


LAYOUT = Layout(
    "dictionary_learning_sae",
    (),
    read,
    optional=(*FINISHED, "config.json", "trainer_config.json"),
    fits=fits,
)
