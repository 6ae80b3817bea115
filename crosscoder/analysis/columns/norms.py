"""Columns from the weights alone: decoder norms, their ratios and angle, published categories.

    R = ‖d_chat‖ / (‖d_base‖ + ‖d_chat‖)                 Lindsey et al. 2024
    Δ = ½ (1 + (‖d_chat‖ − ‖d_base‖) / max)              Minder et al. 2025, Eq. 3

The data frames released with the latter paper hold 1 − Δ. Both are 1 where a latent writes into the
pair's first source (chat) only, and ½ where both norms are equal. Norms are in training units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import cosine_similarity

from crosscoder.analysis.base import ComputedColumn, TableContext
from crosscoder.core.metrics import delta_norm, relative_norm
from crosscoder.core.model import Crosscoder
from crosscoder.core.published import PUBLISHED


@dataclass(frozen=True)
class Norms(ComputedColumn):
    """Columns `norm/<source>` and, with a compared pair, its ratios and categories.

    These are `relative_norm`, `delta_norm`, `category/<paper>` and, if both widths are equal,
    `cosine` and `difference_norm`, ‖d_chat − d_base‖.
    """

    def compute(self, context: TableContext, table: Mapping[str, Any]) -> Mapping[str, Any]:
        return compute_norms(context.crosscoder)


def compute_norms(crosscoder: Crosscoder) -> dict[str, Any]:
    """Return the columns described at `Norms`."""
    sources = crosscoder.sources
    norms = crosscoder.decoder_norms().detach().cpu()
    norm_of = dict(zip(sources.names, norms, strict=True))
    columns: dict[str, Any] = {f"norm/{name}": norm.numpy() for name, norm in norm_of.items()}
    if sources.diff_pair is None:
        return columns
    first, second = sources.diff_pair
    columns["relative_norm"] = relative_norm(norm_of[first], norm_of[second]).numpy()
    columns["delta_norm"] = delta_norm(norm_of[first], norm_of[second]).numpy()
    if sources.comparable:
        first_decoder = training_decoder(crosscoder, first).detach()
        second_decoder = training_decoder(crosscoder, second).detach()
        cosine = cosine_similarity(first_decoder, second_decoder, dim=-1)
        columns["cosine"] = cosine.cpu().numpy()
        difference_norm = (first_decoder - second_decoder).norm(dim=-1)
        columns["difference_norm"] = difference_norm.cpu().numpy()
    for paper, rule in PUBLISHED.items():
        columns[f"category/{paper}"] = rule.categories(columns[rule.score], first, second)
    return columns


def training_decoder(crosscoder: Crosscoder, source: str) -> Tensor:
    """Return one source's decoder in training units, [n_latents, d_source]."""
    if not crosscoder.folded:
        return crosscoder.decoder(source)
    scale = crosscoder.scale[crosscoder.sources.slice(source)]
    return crosscoder.decoder(source) / scale
