"""Tokens that training and figures exclude: kinds of tokens by name, and outliers.

An outlier is a token whose norm is above OUTLIER times the median norm of its source's content
tokens: an attention sink, such as the first token where a model has no BOS. Outliers dominate
squared errors: 1 % of the tokens with 100 times the norm of the others hold 99 % of the variance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from crosscoder.core.types import Kind, PerToken, SourceActs
from crosscoder.errors import UserError

# In Gemma 3 270M at layer 9, BOS, an attention sink, has 13.6 times the median norm. Tokens of the
# text have at most 12.0 times (one apostrophe in 2,000 tokens; all others are below 3.4). A single
# Gaussian dimension never has a norm that large.
OUTLIER = 12.5
NAMES = (*Kind.NAMES, "outlier")
EXCLUDE = ("special", "outlier")  # the default
ROWS_PER_NORM = 4096  # rows whose norms are computed together


def parse_kinds(exclude: Sequence[str]) -> Int[Tensor, "kinds"]:
    """Return the kinds of tokens (see Kind) among these names; "outlier" is not one of them.

    Raises:
        UserError: A name is unknown.
    """
    if not isinstance(exclude, Sequence) or isinstance(exclude, str):
        raise UserError(
            "exclude is a list of kinds of tokens, e.g. [special,outlier] or [] for none, "
            f"not {exclude!r}"
        )
    unknown = [str(name) for name in exclude if name not in NAMES]
    if unknown:
        raise UserError(f"kinds of tokens are {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
    kinds = [Kind.NAMES.index(name) for name in exclude if name != "outlier"]
    return torch.tensor(kinds, dtype=torch.int64)


def choose_figure_exclude(exclude: Sequence[str]) -> tuple[str, ...]:
    """Return what figures and scales exclude, given what training excludes.

    Special tokens always; outliers if training excludes them.
    """
    return EXCLUDE if "outlier" in exclude else ("special",)


def read_figure_exclude(*provenances: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the figures of some crosscoders exclude, from their provenances.

    A provenance without `exclude` counts as that of a training that kept outliers.
    """
    names: list[str] = []
    for provenance in provenances:
        exclude = provenance.get("exclude")
        if isinstance(exclude, list):
            names += exclude
    return choose_figure_exclude(names)


def read_outlier_limits(provenance: Mapping[str, Any]) -> dict[str, float]:
    """Return the norm above which training excluded a token, by source; empty if none."""
    outliers = provenance.get("outliers")
    norms = outliers.get("norms") if isinstance(outliers, dict) else None
    if not isinstance(norms, dict):
        return {}
    return {name: float(norm) for name, norm in norms.items() if isinstance(norm, int | float)}


def compute_norms(acts: Tensor) -> PerToken:
    """Return the norm of every row in float32.

    A few rows at a time are converted, so that no second copy of all activations is made.
    """
    norms = [chunk.float().norm(dim=-1) for chunk in acts.split(ROWS_PER_NORM)]
    return torch.cat(norms)


def is_outlier(norms: PerToken, limit: float) -> Bool[Tensor, "batch"]:
    """Return a mask of the norms above the limit.

    An infinite norm is not an outlier but an error, which is reported elsewhere.
    """
    return (norms > limit) & norms.isfinite()


def replace_rows(
    rows: Int[Tensor, "wanted"], is_usable: Bool[Tensor, "tokens"], seq_len: int
) -> Int[Tensor, "wanted"]:
    """Replace each unusable row by the next usable one of its sequence, or else by the first.

    Args:
        rows: Numbers of tokens in some whole sequences.
        is_usable: Mask of the tokens of these sequences.
        seq_len: Tokens per sequence.

    Returns:
        As many rows; a row whose sequence has no usable token stays.
    """
    replaced = rows.clone()
    for i in (~is_usable[rows]).nonzero()[:, 0].tolist():
        row = int(rows[i])
        start = row // seq_len * seq_len
        usable = start + is_usable[start : start + seq_len].nonzero()[:, 0]
        if len(usable):
            later = usable[usable > row]
            replaced[i] = later[0] if len(later) else usable[0]
    return replaced


def clip_norms(acts: SourceActs, limit: float | None) -> SourceActs:
    """Scale rows whose norm is above the limit down to it.

    These are outliers in whose sequence no other token could take their place.
    """
    norms = compute_norms(acts)
    if limit is None:
        return acts
    outlier = is_outlier(norms, limit)
    if not outlier.any():
        return acts
    clipped = acts.clone()
    factor = limit / norms[outlier, None]
    clipped[outlier] = (acts[outlier].float() * factor).to(acts.dtype)
    return clipped
