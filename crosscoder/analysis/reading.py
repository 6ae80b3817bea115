"""Activations of latents on prompts that the language models have read."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.sparse import SparseCode
from crosscoder.core.types import Kind, Tokens
from crosscoder.data.exclude import compute_norms, is_outlier, read_outlier_limits
from crosscoder.errors import NotApplicable, UserError

Positions = Literal["opening", "prompt"]
TOKENS_PER_CHUNK = 2048  # tokens encoded together


def select_rows(tokens: Tokens, positions: Positions, n_pairs: int) -> Int[Tensor, "chosen"]:
    """Return the rows to average over.

    Args:
        tokens: Tokens of 2 · n_pairs prompts; prompts i and n_pairs + i are a pair.
        positions: "opening" or "prompt" (see columns/prompts.py).
        n_pairs: Number of pairs.

    Raises:
        NotApplicable: The prompts of a pair do not end in the same turn markers ("opening").
        UserError: All tokens are special ("prompt").
    """
    if positions == "prompt":
        rows = tokens.is_content.nonzero()[:, 0]
        if not len(rows):
            raise UserError("expected prompts with ordinary tokens, found special tokens only")
        return rows
    places = torch.arange(len(tokens))
    is_word = tokens.kind == Kind.CHAT
    word_places = torch.where(is_word, places, -1)
    last_word = torch.full((2 * n_pairs,), -1)
    last_word = last_word.scatter_reduce(0, tokens.document, word_places, "amax")
    is_after_words = places > last_word[tokens.document]
    is_opening = (tokens.kind == Kind.TEMPLATE) & is_after_words
    rows = is_opening.nonzero()[:, 0]
    _require_same_openings(tokens, rows, n_pairs)
    return rows


def _require_same_openings(tokens: Tokens, rows: Int[Tensor, "chosen"], n_pairs: int) -> None:
    counts = torch.bincount(tokens.document[rows], minlength=2 * n_pairs).tolist()
    openings = [ids.tolist() for ids in tokens.ids[rows].split(counts)]
    pairs = zip(openings[:n_pairs], openings[n_pairs:], strict=True)
    for number, (first, second) in enumerate(pairs, 1):
        if first != second or not first:
            raise NotApplicable(
                f"pair {number} of the prompts does not end in the same turn markers; "
                "use positions='prompt'"
            )


def mask_known_tokens(crosscoder: Crosscoder, reading: Reading) -> Bool[Tensor, "tokens"]:
    """Tell which tokens are of the kind that the crosscoder was trained on.

    Special tokens are not, nor are outliers if training left them out.
    """
    is_known = reading.tokens.is_content
    for name, limit in read_outlier_limits(crosscoder.provenance).items():
        if name in reading.sources.names:
            is_known &= ~is_outlier(compute_norms(reading[name]), limit)
    return is_known


def encode_rows(
    crosscoder: Crosscoder, reading: Reading, rows: Int[Tensor, "chosen"], **options: Any
) -> Iterator[tuple[Int[Tensor, "chunk"], SparseCode]]:
    """Encode some rows of a reading in chunks; yield each chunk's rows and its code.

    Args:
        crosscoder: Folded crosscoder.
        reading: Activations of the prompts.
        rows: Rows to encode.
        options: Further arguments of `Crosscoder.encode`.
    """
    for chunk in rows.split(TOKENS_PER_CHUNK):
        strings = [reading.strings[row] for row in chunk.tolist()]
        piece = Reading(reading.acts[chunk], reading.tokens[chunk], strings, reading.sources)
        yield chunk, crosscoder.encode(piece, **options)  # type: ignore[misc]


def average_by_prompt(
    crosscoder: Crosscoder, reading: Reading, rows: Int[Tensor, "chosen"], n_prompts: int
) -> tuple[Int[Tensor, "active"], Float[Tensor, "prompts active"]]:
    """Return the latents that are active on the rows, and their mean activation per prompt."""
    document = reading.tokens.document
    prompt_chunks = []
    latent_chunks = []
    value_chunks = []
    for chunk, code in encode_rows(crosscoder, reading, rows):
        prompt_chunks.append(document[chunk[code.index.rows.cpu()]])
        latent_chunks.append(code.index.latents.cpu())
        value_chunks.append(code.values.cpu().double())
    prompts = torch.cat(prompt_chunks)
    values = torch.cat(value_chunks)
    active, column = torch.cat(latent_chunks).unique(return_inverse=True)
    counts = torch.bincount(document[rows], minlength=n_prompts)
    means = torch.zeros(n_prompts, len(active), dtype=torch.float64)
    means.index_put_((prompts, column), values / counts[prompts], accumulate=True)
    return active, means
