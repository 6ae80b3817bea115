"""One pass over held-out tokens, from which every part of the LatentTable takes what it needs.

A part is an object with `update(batch)` for each batch and `columns()` at the end; it keeps sums, never tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.data import Store
from crosscoder.model import Crosscoder
from crosscoder.sparse import DenseCode, Index, SparseCode
from crosscoder.types import Acts, Tokens


@dataclass(frozen=True)
class Batch:
    """Tokens with their activations, reconstruction (both in training units) and code.

    `rows` number the tokens in the store, whose special tokens (BOS and its like) are left out.
    """

    acts: Acts
    recon: Acts
    code: SparseCode
    tokens: Tokens
    rows: Int[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.acts)

    def head(self, n: int) -> "Batch":
        """The first `n` tokens, or all if there are not more."""
        if n >= len(self):
            return self
        index = self.code.index
        end = int(index.starts[n])
        code = SparseCode(Index(index.rows[:end], index.latents[:end], n, index.n_latents), self.code.values[:end])
        return Batch(self.acts[:n], self.recon[:n], code, self.tokens[:n], self.rows[:n])


@runtime_checkable
class Part(Protocol):
    """See the module's docstring."""

    def update(self, batch: Batch) -> None:
        """Add a batch."""
        ...

    def columns(self) -> Mapping[str, Any]:
        """Columns of the table, one entry per latent."""
        ...


@torch.no_grad()
def batches(crosscoder: Crosscoder, store: Store, batch_size: int = 2048) -> Iterator[Batch]:
    """A folded crosscoder on a store, in the store's order."""
    device, first = crosscoder.W_enc.device, 0
    for shard in store:
        tokens = store.tokens(shard)
        kept = tokens.ordinary.nonzero()[:, 0]
        acts = store.acts(shard, crosscoder.sources.names)
        for rows in kept.split(batch_size):
            raw = acts[rows].to(device).float()
            code = crosscoder.encode(raw)
            recon = crosscoder.decode(code)
            sparse = code.to_sparse() if isinstance(code, DenseCode) else code
            yield Batch(crosscoder.normalise(raw), crosscoder.normalise(recon), sparse, tokens[rows], first + rows)
        first += store.counts[shard]
