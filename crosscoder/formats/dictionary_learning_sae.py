"""dictionary_learning SAEs of one model: `config.json` with `ae.pt`, or with `model.safetensors` whose weights have two axes.

    pre = x̃ Eᵀ + b      x̃ = x − c where the class subtracts its decoder bias c      x̂ = f D + c

    AutoEncoder           bias [d], encoder.weight [F, d], encoder.bias, decoder.weight [d, F]     relu, x̃; loaded with ‖D‖ = 1
    AutoEncoderNew        encoder.*, decoder.weight, decoder.bias                                  relu, x
    GatedAutoEncoder      decoder_bias, encoder.weight, gate_bias, mag_bias, r_mag, decoder.weight gated, x̃
    AutoEncoderTopK       encoder.*, decoder.weight, b_dec, k, threshold                           the k largest of a token, x̃
    BatchTopKSAE          the same                                                                 f = r · [r > θ], x̃
    MatryoshkaBatchTopKSAE, JumpReluAutoEncoder   W_enc [d, F], b_enc, W_dec [F, d], b_dec, and threshold [] or [F]; x̃ and x

The normaliser of newer files ((x − mean) · s) is as in dictionary_learning.py, but of one model: activation_mean and
activation_std [d], activation_global_scale []. Scaling in training is undone before saving.
"""

import torch

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, gated, no_input_scale, one_source
from crosscoder.formats.dictionary_learning import EPSILON, normaliser, place_of
from crosscoder.formats.folder import Folder, one_of

PRE_BIAS = {"AutoEncoder": "bias", "AutoEncoderNew": "", "GatedAutoEncoder": "decoder_bias", "AutoEncoderTopK": "b_dec"}
PRE_BIAS |= {"BatchTopKSAE": "b_dec", "MatryoshkaBatchTopKSAE": "b_dec", "JumpReluAutoEncoder": ""}


def fits(folder: Folder) -> bool:
    """Whether it is an SAE's."""
    if folder.has("ae.pt"):
        return True
    return folder.has("model.safetensors") and len(folder.shapes("model.safetensors").get("encoder.weight", [])) == 2


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The SAE of one site."""
    no_input_scale(given, folder)
    settings = folder.json("trainer_config.json" if folder.has("trainer_config.json") else "config.json")
    trainer = settings["trainer"] if isinstance(settings.get("trainer"), dict) else settings
    kind = one_of(trainer.get("dict_class"), list(PRE_BIAS), f"{folder.path}: dict_class")
    file = folder.tensors("ae.pt" if folder.has("ae.pt") else "model.safetensors")
    if kind in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        W_enc, b_enc = file.take("W_enc", "d F").T.contiguous(), file.take("b_enc", "F")
        W_dec, b_dec = file.take("W_dec", "F d"), file.take("b_dec", "d")
    else:
        W_enc, W_dec = file.take("encoder.weight", "F d"), file.take("decoder.weight", "d F").T.contiguous()
        b_dec = file.take(PRE_BIAS[kind] or "decoder.bias", "d")
        b_enc = file.take("mag_bias" if kind == "GatedAutoEncoder" else "encoder.bias", "F")
    activation: Activation = ReLU()
    if kind == "AutoEncoder":  # rows of another norm are rescaled, as its loader does
        norms = W_dec.norm(dim=-1)
        norms = norms.where(norms > 0, 1)
        W_enc, b_enc, W_dec = W_enc * norms[:, None], b_enc * norms, W_dec / norms[:, None]
    elif kind == "GatedAutoEncoder":
        W_enc, activation = gated(W_enc, b_enc, file.take("gate_bias", "F"), file.take("r_mag", "F"))
    elif kind == "AutoEncoderTopK":
        k = int(file.take("k", ""))
        if not 0 < k <= len(b_enc):
            raise UserError(f"{file.file}: k is {k}, but there are {len(b_enc)} latents")
        activation = TopK(k)
    elif kind == "JumpReluAutoEncoder":
        activation = JumpReLU.of(file.take("threshold", "F"))
    elif kind != "AutoEncoderNew":
        activation = JumpReLU.of(file.take("threshold", "").clamp(min=0).expand(len(b_enc)))
    mean, scale = normaliser(file, "d", 1, W_enc.shape[1])
    file.drop(["k", "threshold", "target_rms", "group_sizes"])
    file.done()
    model = trainer.get("lm_name") if isinstance(trainer.get("lm_name"), str) else None
    sources, models = one_source(W_enc.shape[1], place_of(trainer), model)
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
        notes={"dict_class": kind},
    )


LAYOUT = Layout(
    "dictionary_learning_sae", ("config.json",), read, ("ae.pt", "model.safetensors", "trainer_config.json"), fits
)
