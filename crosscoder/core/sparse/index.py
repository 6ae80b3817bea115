"""Index of the active entries of a code."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from crosscoder.core import kernels
from crosscoder.core.kernels.positions import find_positions
from crosscoder.core.types import Acts, Decoder, Dense, Entries, Indices, PerLatent, PerToken

# fraction of active entries above which the dense products are faster: on a CPU, between 1/16
# (4,096 latents) and 1/26 (16,384)
DENSE_ABOVE = 1 / 24


@dataclass(frozen=True)
class Index:
    """Active entries (row, latent), by rising row and within a row by rising latent."""

    rows: Indices
    latents: Indices
    batch: int
    n_latents: int

    @classmethod
    def from_positions(cls, flat: Tensor, batch: int, n_latents: int) -> "Index":
        """Build the index of rising positions in a flattened [batch, n_latents]."""
        return cls(flat // n_latents, flat % n_latents, batch, n_latents)

    @classmethod
    def from_mask(cls, active: Tensor) -> "Index":
        """Build the index of a boolean mask [batch, n_latents]."""
        return cls.from_positions(find_positions(active.contiguous()), *active.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Index({len(self):,} entries, {self.batch:,} tokens × {self.n_latents:,} latents)"

    def __getitem__(self, entries: Tensor) -> "Index":
        return Index(self.rows[entries], self.latents[entries], self.batch, self.n_latents)

    @cached_property
    def counts(self) -> Tensor:
        """Number of active latents of each token, [batch]."""
        return torch.bincount(self.rows, minlength=self.batch)

    @cached_property
    def starts(self) -> Tensor:
        """Offsets of the rows in `latents`, and the end of the last one, [batch + 1]."""
        return _offsets(self.counts)

    @cached_property
    def counts_by_latent(self) -> Tensor:
        """Number of tokens on which each latent is active, [n_latents]."""
        return torch.bincount(self.latents, minlength=self.n_latents)

    @cached_property
    def transposed(self) -> tuple[Indices, Indices, Tensor]:
        """Entries sorted by latent: (their order, their rows, the offsets of the latents)."""
        order = torch.argsort(self.latents, stable=True)
        return order, self.rows[order], _offsets(self.counts_by_latent)

    def is_dense(self) -> bool:
        """Return whether there are so many entries that dense products are faster."""
        return len(self) > DENSE_ABOVE * self.batch * self.n_latents

    def mask(self) -> Tensor:
        """Return the active entries as a boolean mask [batch, n_latents]."""
        mask = torch.zeros(self.batch, self.n_latents, dtype=torch.bool, device=self.rows.device)
        mask[self.rows, self.latents] = True
        return mask

    def take(self, dense: Dense) -> Entries:
        """Return the entries' values in a [batch, n_latents]."""
        return dense.reshape(-1)[self.rows * self.n_latents + self.latents]

    def gather(self, values: Entries, table: Decoder) -> Acts:
        """Return Σ_{j∈E_t} values_tj · table[j] for every token t."""
        backend = kernels.get_backend(table.device.type)
        return backend.bag(self.latents, self.starts, values, table)

    def scatter(self, values: Entries, acts: Acts) -> Decoder:
        """Return Σ_{t∈E_j} values_tj · acts[t] for every latent j."""
        order, rows, starts = self.transposed
        backend = kernels.get_backend(acts.device.type)
        return backend.bag(rows, starts, values[order], acts)

    def dots(self, acts: Acts, table: Decoder) -> Entries:
        """Return ⟨acts[t], table[j]⟩ for every entry (t, j)."""
        backend = kernels.get_backend(table.device.type)
        return backend.dots(self.latents, self.starts, self.rows, acts, table)

    # on a GPU `index_add` adds in any order, and its sums would differ from run to run

    def sum_by_token(self, values: Entries) -> PerToken:
        """Return Σ_j values_tj for every token t."""
        return torch.segment_reduce(values, "sum", offsets=self.starts)

    def sum_by_latent(self, values: Entries) -> PerLatent:
        """Return Σ_t values_tj for every latent j."""
        order, _, starts = self.transposed
        return torch.segment_reduce(values[order], "sum", offsets=starts)


def index_or_mask(active: Tensor) -> Index | Tensor:
    """Return the index of a boolean mask [batch, n_latents], or the mask itself if it is dense."""
    is_dense = active.count_nonzero() > DENSE_ABOVE * active.numel()
    return active if is_dense else Index.from_mask(active)


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
