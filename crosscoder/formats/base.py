"""Interface of a weight layout: how its folder is recognised and read.

A layout is one file of `readers/` with a `LAYOUT`; no list names it. Its `read` maps keys and axes
of the file to a `Dictionary`, whose rows are latents and whose weights read (raw − mean) / scale.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Decoder, PerLatent
from crosscoder.errors import UserError
from crosscoder.formats.folder import Folder
from crosscoder.formats.input_scale import InputScale, reject_input_scale

# beyond this absolute value a weight comes from a damaged file, and products would overflow
LARGEST_WEIGHT = 1e15


@dataclass(frozen=True)
class Dictionary:
    """Weights of a foreign dictionary with this project's axes.

    Args:
        sources: Activation streams, in order.
        W_enc: Encoder, as in `Crosscoder`.
        b_enc: Encoder bias, as in `Crosscoder`.
        W_dec: Decoder, as in `Crosscoder`.
        b_dec: Decoder bias, as in `Crosscoder`.
        activation: Activation of inference; its thresholds compare with the pre-activation itself.
        norm: Description of the activations' scale, from the file.
        bos: True if training tokens included BOS; None if unknown.
        mean: Mean of the activations, [d_total], which is subtracted before the weights read them;
            None if nothing is subtracted.
        scale: Divisor of the activations, [d_total]; None for raw activations.
        epsilon: Reconstructions are divided by 1 / scale + epsilon.
        pre_bias: True if b_dec is subtracted before encoding.
        selection_scale: Weights of the selection in training, [n_latents].
        groups: Latent of each row, [n_latents], where a latent codes differently per source.
        models: Hub id by source, as far as the files tell.
        notes: Further facts for the provenance.
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

    def to_crosscoder(self) -> Crosscoder:
        """Build a crosscoder that reads raw activations.

        Raises:
            UserError: A weight of the crosscoder is not finite or implausibly large.
        """
        units = self._units()
        W_dec = self.W_dec
        b_dec = self.b_dec
        if units is not None and self.epsilon:
            divisor = 1 + self.epsilon * units[1]
            W_dec = W_dec / divisor
            b_dec = b_dec / divisor
        weights = (self.W_enc, self._encoder_bias(), W_dec, b_dec)
        crosscoder = Crosscoder.from_weights(
            self.sources, weights, self.activation, units, self.selection_scale, self.groups
        )
        _require_plausible(crosscoder)
        return crosscoder

    def build_provenance(self, folder: Folder, layout: str) -> dict[str, Any]:
        """Return the origin of the weights and what is known of their training, as plain JSON."""
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
            "pair": self._build_pair() if self.models else None,
            **self.notes,
        }

    def _encoder_bias(self) -> PerLatent:
        if not self.pre_bias:
            return self.b_enc
        return self.b_enc - (self.W_enc.double() @ self.b_dec.double()).float()

    def _units(self) -> tuple[Tensor, Tensor] | None:
        """Return the mean and the scale that the weights read with; None for raw activations."""
        if self.mean is None and self.scale is None:
            return None
        mean = torch.zeros_like(self.b_dec) if self.mean is None else self.mean
        scale = torch.ones_like(self.b_dec) if self.scale is None else self.scale
        return mean, scale

    def _build_pair(self) -> dict[str, Any]:
        """Describe the language models, in the words of a run's provenance."""
        layer = 0
        for source in self.sources:
            last_word = source.hookpoint.rpartition(".")[2]
            if re.fullmatch("[0-9]{1,9}", last_word):
                layer = int(last_word)
                break
        diff_pair = self.sources.diff_pair
        return {
            "lms": {name: {"weights": weights} for name, weights in self.models.items()},
            "layer": layer,
            "contrast": diff_pair and list(diff_pair),
        }


@dataclass(frozen=True)
class Layout:
    """Weight layout of another library.

    Args:
        name: Name in messages and in `load(layout=...)`.
        files: File name patterns; a folder of this layout has a file for each of them.
        read: Reader of a folder. It takes the user's `input_scale` as a second argument where
            `accepts_input_scale` is true.
        optional: Patterns of files that are read if they exist.
        fits: Further condition on a folder, where other layouts have files of the same names.
        accepts_input_scale: True if the scale of the activations may be missing in the files.
        write: Writer of a crosscoder's files into an empty folder, if the layout can be written.
        forms: Further writers, by name.
    """

    name: str
    files: Sequence[str]
    read: Callable[..., Dictionary]
    optional: Sequence[str] = ()
    fits: Callable[[Folder], bool] = lambda _: True
    accepts_input_scale: bool = False
    write: Callable[[Crosscoder, Path], None] | None = None
    forms: Mapping[str, Callable[[Crosscoder, Path], None]] = field(default_factory=dict)

    def matches(self, folder: Folder) -> bool:
        """Tell whether a folder has this layout."""
        return all(folder.has_file(pattern) for pattern in self.files) and self.fits(folder)

    def read_dictionary(self, folder: Folder, input_scale: InputScale) -> Dictionary:
        """Read a folder of this layout.

        Raises:
            UserError: The files cannot be read, or say themselves how activations are scaled while
                `input_scale` is given.
        """
        if self.accepts_input_scale:
            return self.read(folder, input_scale)
        reject_input_scale(input_scale, folder)
        return self.read(folder)


def _require_plausible(crosscoder: Crosscoder) -> None:
    """Refuse weights that are not finite or larger than those of any dictionary."""
    weights = [*crosscoder.named_parameters(), ("selection_scale", crosscoder.frozen_scale)]
    for name, weight in weights:
        low, high = weight.detach().aminmax()
        is_plausible = low > -LARGEST_WEIGHT and high < LARGEST_WEIGHT  # false for NaN
        is_negative_scale = name == "selection_scale" and low < 0
        if not is_plausible or is_negative_scale:
            raise UserError(
                f"on raw activations {name} runs from {low:.3g} to {high:.3g}: "
                "the file is damaged or a factor is wrong"
            )
