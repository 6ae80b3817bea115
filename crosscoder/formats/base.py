"""What a layout is: how a folder of somebody else's files is told, and what its tensors are called here.

A layout is one file of this package with a `LAYOUT`; nothing else names it. Its `read` is a map of keys and axes from the
file to a `Dictionary`, whose rows are latents and whose weights read (raw − mean) / scale.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.folder import Folder, shown
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources
from crosscoder.types import Decoder, PerLatent

InputScale = float | Mapping[str, float] | None
LARGEST = 1e15  # number in any weight; beyond it a file is damaged, and products would overflow


@dataclass(frozen=True)
class Dictionary:
    """A dictionary as a file has it, with this project's axes.

    Args:
        sources: the streams, in order.
        W_enc, b_enc, W_dec, b_dec: as in `Crosscoder`.
        activation: of inference; thresholds compare with the pre-activation itself.
        norm: what the file says of the activations' scale, in words.
        bos: whether BOS was among the tokens it was trained on; None: not known.
        mean, scale: [d_total], of the activations that the weights read; None: raw ones.
        epsilon: reconstructions are divided by 1 / scale + epsilon.
        pre_bias: whether b_dec is subtracted before encoding.
        selection_scale: [n_latents], by which the selection was weighed in training.
        groups: [n_latents], rows that are one latent which codes differently per source.
        models: source's language model → its hub id, as far as the files tell.
        notes: further facts for the provenance.
    """

    sources: Sources
    W_enc: Decoder
    b_enc: PerLatent
    W_dec: Decoder
    b_dec: Tensor
    activation: Activation
    norm: str = "raw activations"
    bos: bool | None = None
    mean: Tensor | None = None
    scale: Tensor | None = None
    epsilon: float = 0.0
    pre_bias: bool = False
    selection_scale: PerLatent | None = None
    groups: Tensor | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def crosscoder(self) -> Crosscoder:
        """As a crosscoder that eats raw activations."""
        b_enc = self.b_enc
        if self.pre_bias:
            b_enc = b_enc - (self.W_enc.double() @ self.b_dec.double()).float()
        units, W_dec, b_dec = None, self.W_dec, self.b_dec
        if self.mean is not None or self.scale is not None:
            mean = torch.zeros_like(self.b_dec) if self.mean is None else self.mean
            units = mean, torch.ones_like(self.b_dec) if self.scale is None else self.scale
            if self.epsilon:
                W_dec, b_dec = (weight / (1 + self.epsilon * units[1]) for weight in (W_dec, b_dec))
        weights = self.W_enc, b_enc, W_dec, b_dec
        made = Crosscoder.of(self.sources, weights, self.activation, units, self.selection_scale, self.groups)
        for name, weight in (*made.named_parameters(), ("selection_scale", made.frozen_scale)):
            low, high = weight.detach().aminmax()
            if not (low > -LARGEST and high < LARGEST) or (name == "selection_scale" and low < 0):  # NaN is neither
                raise UserError(
                    f"on raw activations {name} runs from {low:.3g} to {high:.3g}: a damaged file or a wrong factor"
                )
        return made

    def provenance(self, folder: Folder, layout: str) -> dict[str, Any]:
        """Where it came from and what is known of its making, as plain JSON."""
        ends = [source.hookpoint.rpartition(".")[2] for source in self.sources]
        layers = [int(end) for end in ends if re.fullmatch("[0-9]{1,9}", end)]
        pair = {
            "lms": {name: {"weights": weights} for name, weights in self.models.items()},
            "layer": layers[0] if layers else 0,
            "contrast": self.sources.contrast and list(self.sources.contrast),
        }
        return {
            "layout": layout,
            "origin": folder.origin,
            "repo": folder.repo,
            "revision": folder.revision,
            "sha256": dict(folder.digests),
            "sources": list(self.sources.names),
            "hookpoint": {source.name: source.hookpoint for source in self.sources},
            "norm": self.norm,
            "bos_excluded": None if self.bos is None else not self.bos,
            "pair": pair if self.models else None,
            **self.notes,
        }


@dataclass(frozen=True)
class Layout:
    """How others' files are told and read.

    Args:
        name: as it is shown and asked for.
        files: patterns, each of which a folder of this layout has a file for.
        read: from a folder, and the factors that bring activations to the file's scale where only the user knows them.
        optional: further files that are read if they are there.
        fits: what must hold besides, where other layouts have files of the same names.
        write: writes a crosscoder's files of this layout into an empty folder, if it can.
    """

    name: str
    files: Sequence[str]
    read: Callable[[Folder, InputScale], Dictionary]
    optional: Sequence[str] = ()
    fits: Callable[[Folder], bool] = lambda _: True
    write: Callable[[Crosscoder, Path], None] | None = None

    def matches(self, folder: Folder) -> bool:
        """Whether a folder looks like this layout's."""
        return all(folder.has(pattern) for pattern in self.files) and self.fits(folder)


def gated(W_enc: Decoder, b_mag: PerLatent, b_gate: PerLatent, r_mag: PerLatent) -> tuple[Decoder, JumpReLU]:
    """A gated encoder as a JumpReLU with bias b_mag: W_enc · exp(r_mag), θ = b_mag − exp(r_mag) · b_gate."""
    gain = r_mag.exp()
    return W_enc * gain[:, None], JumpReLU.of(b_mag - gain * b_gate)


def per_source(W_enc: Tensor, b_enc: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents that code differently per source as a row for each of M, which reads all sources and writes to one.

    Args:
        W_enc: of the latents, [n_latents, d_total].
        b_enc: [n_latents].
        W_dec: [M, n_latents, d_source].

    Returns:
        W_enc, b_enc, W_dec [M · n_latents, M, d_source], and which rows are one latent.
    """
    M, n_latents = W_dec.shape[:2]
    columns = (W_dec[:, :, None] * torch.eye(M)[:, None, :, None]).flatten(0, 1)
    return W_enc.repeat(M, 1), b_enc.repeat(M), columns, torch.arange(n_latents).repeat(M)


def role(model: str | None) -> str:
    """The name of a language model's stream: `base` or `chat` where its id tells, else `model`."""
    if not model:
        return "model"
    words = model.lower().replace("_", "-").split("/")[-1].split("-")
    return "chat" if {"it", "instruct", "chat"} & set(words) else "base"


def pair_of(widths: Sequence[int], hookpoint: str = "") -> Sources:
    """The streams of several models at one hookpoint: the first is the base, the second its finetuned version."""
    names = {1: ("model",), 2: ("base", "chat")}.get(len(widths)) or [f"model{i}" for i in range(len(widths))]
    items = tuple(Source(name, width, name, hookpoint) for name, width in zip(names, widths, strict=True))
    return Sources(items, ("chat", "base") if len(widths) == 2 else None)


def one_source(width: int, hookpoint: str, model: str | None) -> tuple[Sources, dict[str, str]]:
    """The stream of one language model, and which it is."""
    name = role(model)
    return Sources((Source(name, width, name, hookpoint),)), {name: model} if model else {}


def input_scale(given: InputScale, sources: Sources, folder: Folder, why: str) -> Tensor:
    """[d_total], the factors c by which x is multiplied before the file's weights read it.

    Raises:
        UserError: they are not given (`why` says where they may be found), or not for these sources.
    """
    if given is None:
        raise UserError(
            f"{folder.path}: its weights read scaled activations, and the files do not hold the factors. {why} "
            f"Give them as input_scale={{{', '.join(f'{name!r}: …' for name in sources.names)}}}"
        )
    factors = given if isinstance(given, Mapping) else dict.fromkeys(sources.names, given)
    if set(factors) != set(sources.names):
        raise UserError(f"input_scale is of {', '.join(sources.names)}, not of {', '.join(map(str, factors))}")
    if bad := {name: c for name, c in factors.items() if not (isinstance(c, Real) and 1e-30 < c < 1e30)}:
        raise UserError(f"input_scale is a positive factor for each source, not {shown(bad)}")
    return torch.cat([torch.full((source.width,), float(factors[source.name])) for source in sources])


def no_input_scale(given: InputScale, folder: Folder) -> None:
    """Refuse factors where the files say everything."""
    if given is not None:
        raise UserError(f"{folder.path}: its files say how activations are scaled; leave input_scale out")
