"""From prompts that were read to what each latent does on each of them."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.lm import Reading
from crosscoder.model import Crosscoder
from crosscoder.sparse import SparseCode
from crosscoder.types import Kind, Tokens

Positions = Literal["opening", "prompt"]
AT_A_TIME = 2048  # tokens encoded together


def rows_of(tokens: Tokens, positions: Positions, n: int) -> Int[Tensor, "chosen"]:
    """Rows to average over; prompts i and n + i are a pair."""
    if positions == "prompt":
        rows = tokens.ordinary.nonzero()[:, 0]
        if not len(rows):
            raise UserError("the prompts have no tokens but special ones")
        return rows
    at = torch.arange(len(tokens))
    words = torch.where(tokens.kind == Kind.CHAT, at, -1)
    last_word = torch.full((2 * n,), -1).scatter_reduce(0, tokens.document, words, "amax")
    rows = ((tokens.kind == Kind.TEMPLATE) & (at > last_word[tokens.document])).nonzero()[:, 0]
    counts = torch.bincount(tokens.document[rows], minlength=2 * n).tolist()
    openings = [part.tolist() for part in tokens.ids[rows].split(counts)]
    for i, (a, b) in enumerate(zip(openings[:n], openings[n:], strict=True), 1):
        if a != b or not a:
            raise UserError(f"pair {i} of the prompts does not end in the same turn markers; use positions='prompt'")
    return rows


def codes(
    crosscoder: Crosscoder, reading: Reading, rows: Int[Tensor, "chosen"], **how: Any
) -> Iterator[tuple[Tensor, SparseCode]]:
    """Codes of some of a reading's rows, a few at a time, with those rows."""
    for part in rows.split(AT_A_TIME):
        strings = [reading.strings[row] for row in part.tolist()]
        few = Reading(reading.acts[part], reading.tokens[part], strings, reading.sources)
        yield part, crosscoder.encode(few, **how)  # type: ignore[misc]


def means_by_prompt(
    crosscoder: Crosscoder, reading: Reading, rows: Int[Tensor, "chosen"], n_prompts: int
) -> tuple[Int[Tensor, "active"], Float[Tensor, "prompts active"]]:
    """Latents that are active on some of the rows, and their mean activation on each prompt's rows."""
    document = reading.tokens.document
    found = [
        (document[part[code.index.rows.cpu()]], code.index.latents.cpu(), code.values.cpu().double())
        for part, code in codes(crosscoder, reading, rows)
    ]
    prompts, latents, values = (torch.cat(column) for column in zip(*found, strict=True))
    active, column = latents.unique(return_inverse=True)
    counts = torch.bincount(document[rows], minlength=n_prompts)
    means = torch.zeros(n_prompts, len(active), dtype=torch.float64)
    return active, means.index_put_((prompts, column), values / counts[prompts], accumulate=True)
