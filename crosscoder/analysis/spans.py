"""Pairs of prompts of equal length, and equal spans of them to read.

If one kind of prompt is longer, or more of its tokens are read, then latents differ between the two
kinds without any difference in meaning. Both are therefore matched, and what was matched is
reported:

    length   of all pairs, those are used whose two prompts differ least in their number of tokens
    span     as many tokens are read of the first prompt of a pair as of the second: the last ones
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.core.reading import Reading
from crosscoder.core.sampling import take_evenly

PROMPT_SPANS = "prompt spans"  # the table of results that says what was matched
SPANS = {
    "opening": "template before the answer",
    "prompt": "last tokens, as many as the shorter prompt has",
}
Means = tuple[float, float]  # of the first prompts of pairs, and of the second ones


@dataclass(frozen=True)
class SpanReport:
    """Lengths and spans of the two prompts of pairs; numbers of tokens are means.

    Args:
        positions: A key of SPANS.
        n_pairs: Number of pairs that are read.
        n_offered: Number of pairs from which these were chosen.
        offered: Tokens per prompt, over the pairs from which these were chosen.
        used: Tokens per prompt, over the pairs that are read.
        largest_difference: Largest difference in tokens between two prompts that are read.
        read: Tokens read per prompt.
    """

    positions: str
    n_pairs: int
    n_offered: int
    offered: Means
    used: Means
    largest_difference: int
    read: Means

    def describe(self) -> dict[str, Any]:
        """Return plain JSON, for the metadata of tables and results."""
        content = dict(vars(self))
        for name in ("offered", "used", "read"):
            content[name] = list(content[name])
        return content


@dataclass(frozen=True)
class PairedReading:
    """Activations of pairs of prompts.

    Args:
        reading: The prompts; prompts i and n_pairs + i are a pair.
        rows: Rows of the reading that are compared, in their order.
        n_pairs: Number of pairs.
        spans: What was matched between the two prompts.
    """

    reading: Reading
    rows: Int[Tensor, "chosen"]
    n_pairs: int
    spans: SpanReport


def choose_equal_lengths(lengths: Sequence[tuple[int, int]], n: int) -> list[int]:
    """Return the places of `n` pairs that differ least in length, evenly spaced among these.

    Args:
        lengths: Number of tokens of the two prompts of each pair.
        n: Number of pairs; all are chosen if there are no more.
    """
    differences = [abs(first - second) for first, second in lengths]
    if n >= len(differences):
        return list(range(len(differences)))
    largest = sorted(differences)[n - 1]
    suitable = [place for place, found in enumerate(differences) if found <= largest]
    return take_evenly(suitable, n)


def take_common_tail(
    documents: Int[Tensor, "chosen"], rows: Int[Tensor, "chosen"], n_pairs: int
) -> Int[Tensor, "kept"]:
    """Keep the last rows of every prompt, as many as the pair's prompt with fewer rows has.

    Args:
        documents: Number of each row's prompt, ascending.
        rows: The rows.
        n_pairs: Number of pairs; prompts i and n_pairs + i are a pair.
    """
    counts = torch.bincount(documents, minlength=2 * n_pairs)
    common = torch.minimum(counts, counts.roll(n_pairs))
    rows_to_end = counts.cumsum(0)[documents] - torch.arange(len(rows))
    return rows[rows_to_end <= common[documents]]


def list_spans(
    described: dict[str, dict[str, Any]], sides: Sequence[str] = ("first", "second")
) -> list[dict[str, Any]]:
    """Return a row per contrast and kind of prompt: numbers of tokens before and after matching.

    Args:
        described: By name of the contrast, what `SpanReport.describe` returned.
        sides: Names of the two kinds of prompts.
    """
    rows = []
    for name, spans in described.items():
        for place, side in enumerate(sides):
            row = {
                "contrast": name,
                "prompts": side,
                "pairs": f"{spans['n_pairs']:,} of {spans['n_offered']:,}",
                "tokens, all pairs": spans["offered"][place],
                "tokens, these pairs": spans["used"][place],
                "largest difference": spans["largest_difference"],
                "tokens read": spans["read"][place],
                "span": SPANS[spans["positions"]],
            }
            rows.append(row)
    return rows
