"""The sparse code and the arithmetic on it, forward and backward.

A code of k entries per token in a dictionary of n_latents is kept as three arrays (row offsets, latent indices, values).
Of a dense training step's five GEMMs only the encoder's forward remains; with E the entries (token t, latent j) and
f their values, the rest are gathers over E:

    decode        x̂_t   = Σ_{j∈E_t} f_tj · W_dec[j]
    values' grad  ∂f_tj = ⟨∂x̂_t, W_dec[j]⟩
    decoder grad  ∂W_dec[j] = Σ_{t∈E_j} f_tj · ∂x̂_t
    encoder grad  ∂W_enc[j] = Σ_{t∈E_j} ∂f_tj · x_t

Each is one pass over contiguous rows (crosscoder/kernels). The two weight gradients run over the transposed index (entries
sorted by latent), so every gradient row is written once and the result does not depend on thread order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosscoder import kernels
from crosscoder.errors import UserError, first_line, writing
from crosscoder.types import Acts, Decoder, Dense, Entries, Indices, PerLatent, PerToken, Tokens

# share of active entries above which the dense products are faster: on a CPU, between 1/16 (4,096 latents) and 1/26 (16,384)
DENSE_ABOVE = 1 / 24


@dataclass(frozen=True)
class Index:
    """Which latents are active on which token: entries (row, latent), by rising row and within a row by rising latent."""

    rows: Indices
    latents: Indices
    batch: int
    n_latents: int

    @classmethod
    def at(cls, flat: Tensor, batch: int, n_latents: int) -> "Index":
        """The entries at these rising positions of a flattened [batch, n_latents]."""
        return cls(flat // n_latents, flat % n_latents, batch, n_latents)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, entries: Tensor) -> "Index":
        return Index(self.rows[entries], self.latents[entries], self.batch, self.n_latents)

    @cached_property
    def counts(self) -> Tensor:
        """How many latents are active on each token, [batch]."""
        return torch.bincount(self.rows, minlength=self.batch)

    @cached_property
    def starts(self) -> Tensor:
        """Where each row starts in `latents`, and where the last one ends, [batch + 1]."""
        return _starts(self.counts)

    @cached_property
    def counts_by_latent(self) -> Tensor:
        """On how many tokens each latent is active, [n_latents]."""
        return torch.bincount(self.latents, minlength=self.n_latents)

    @cached_property
    def transposed(self) -> tuple[Indices, Indices, Tensor]:
        """Entries sorted by latent: (the order, their rows, where each latent starts)."""
        order = torch.argsort(self.latents, stable=True)
        return order, self.rows[order], _starts(self.counts_by_latent)

    def is_dense(self) -> bool:
        """Whether there are so many entries that dense products are faster."""
        return len(self) > DENSE_ABOVE * self.batch * self.n_latents

    def mask(self) -> Tensor:
        """[batch, n_latents] bool: the active entries."""
        mask = torch.zeros(self.batch, self.n_latents, dtype=torch.bool, device=self.rows.device)
        mask[self.rows, self.latents] = True
        return mask

    def take(self, dense: Dense) -> Entries:
        """The entries of a [batch, n_latents]."""
        return dense.reshape(-1)[self.rows * self.n_latents + self.latents]

    def gather(self, values: Entries, table: Decoder) -> Acts:
        """Σ_{j∈E_t} values_tj · table[j] for every token t."""
        return kernels.of(table.device.type).bag(self.latents, self.starts, values, table)

    def scatter(self, values: Entries, acts: Acts) -> Decoder:
        """Σ_{t∈E_j} values_tj · acts[t] for every latent j."""
        order, rows, starts = self.transposed
        return kernels.of(acts.device.type).bag(rows, starts, values[order], acts)

    def dots(self, acts: Acts, table: Decoder) -> Entries:
        """⟨acts[t], table[j]⟩ for every entry (t, j)."""
        return kernels.of(table.device.type).dots(self.latents, self.starts, self.rows, acts, table)

    def sum_by_latent(self, values: Entries) -> PerLatent:
        """Σ_t values_tj for every latent j."""
        return values.new_zeros(self.n_latents).index_add_(0, self.latents, values)


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def positions(mask: Tensor) -> Tensor:
    """Where a mask is true, as rising positions of the flattened mask."""
    flat = mask.view(-1)
    if mask.is_cuda or len(flat) % 8:
        return flat.nonzero()[:, 0]
    # almost all are false: eight at a time are dismissed together
    words = flat.view(torch.int64).nonzero()[:, 0]
    word, place = flat.view(-1, 8)[words].nonzero(as_tuple=True)
    return 8 * words[word] + place


def index_of(active: Tensor) -> Index:
    """The index of a boolean mask [batch, n_latents]."""
    return Index.at(positions(active.contiguous()), *active.shape)


def index_or_mask(active: Tensor) -> Index | Tensor:
    """The index of a boolean mask [batch, n_latents], or the mask itself where an index would not profit."""
    dense = active.count_nonzero() > DENSE_ABOVE * active.numel()
    return active if dense else index_of(active)


class _Encode(torch.autograd.Function):
    """The entries of acts @ W_encᵀ + b_enc at an index; their values are known from the GEMM that chose them."""

    @staticmethod
    def forward(ctx: Any, acts: Acts, W_enc: Decoder, b_enc: PerLatent, values: Entries, index: Index) -> Entries:
        ctx.save_for_backward(acts, W_enc)
        ctx.index = index
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Entries) -> tuple:
        acts, W_enc = ctx.saved_tensors
        index, grad = ctx.index, grads[0]
        return (
            index.gather(grad, W_enc) if ctx.needs_input_grad[0] else None,
            index.scatter(grad, acts) if ctx.needs_input_grad[1] else None,
            index.sum_by_latent(grad) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


class _Decode(torch.autograd.Function):
    """Σ_j f_tj W_dec[j] with both gradients as gathers."""

    @staticmethod
    def forward(ctx: Any, values: Entries, W_dec: Decoder, index: Index) -> Acts:
        ctx.save_for_backward(values, W_dec)
        ctx.index = index
        return index.gather(values, W_dec)

    @staticmethod
    def backward(ctx: Any, *grads: Acts) -> tuple:
        values, W_dec = ctx.saved_tensors
        index, grad = ctx.index, grads[0]
        return (
            index.dots(grad, W_dec) if ctx.needs_input_grad[0] else None,
            index.scatter(values, grad) if ctx.needs_input_grad[1] else None,
            None,
        )


def product(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """a @ b in `dtype` (backward, too), given in a's own."""
    return a @ b if dtype in (None, a.dtype) else (a.to(dtype) @ b.to(dtype)).to(a.dtype)


@dataclass(frozen=True)
class SparseCode:
    """f as (index, values). `tokens` and `strings` say what it was computed on, where that is known."""

    index: Index
    values: Entries
    tokens: Tokens | None = field(default=None, repr=False)
    strings: list[str] | None = field(default=None, repr=False)

    @classmethod
    def encode(cls, acts: Acts, W_enc: Decoder, b_enc: PerLatent, index: Index, values: Entries) -> "SparseCode":
        """The selected entries with their way back to the encoder's weights."""
        return cls(index, _Encode.apply(acts, W_enc, b_enc, values, index))

    def decode(self, W_dec: Decoder) -> Acts:
        """Σ_j f_j W_dec[j], without the bias."""
        return _Decode.apply(self.values, W_dec, self.index)

    def __len__(self) -> int:
        return self.index.batch

    @property
    def n_latents(self) -> int:
        return self.index.n_latents

    def scaled(self, weights: PerLatent, of: Callable[[Tensor], Tensor]) -> "SparseCode":
        """of(f_j · weights_j); `of` maps 0 to 0."""
        return SparseCode(self.index, of(self.values * weights[self.index.latents]))

    def weighted(self, weights: PerLatent) -> PerToken:
        """Σ_j f_j · weights_j for every token."""
        terms = self.values * weights[self.index.latents]
        return terms.new_zeros(len(self)).index_add(0, self.index.rows, terms)

    def part(self, start: int, stop: int) -> "SparseCode":
        """The code of latents `start` … `stop` − 1 alone."""
        here = ((self.index.latents >= start) & (self.index.latents < stop)).nonzero()[:, 0]
        rows, latents = self.index.rows[here], self.index.latents[here] - start
        return SparseCode(Index(rows, latents, len(self), stop - start), self.values[here])

    def l0(self) -> PerToken:
        """How many latents are active on each token."""
        return self.index.counts.float()

    def counts(self) -> Tensor:
        """On how many tokens each latent is active, [n_latents]."""
        return self.index.counts_by_latent

    def to_dense(self) -> Dense:
        """The same code as [batch, n_latents]."""
        dense = self.values.new_zeros(len(self), self.n_latents)
        return dense.index_put((self.index.rows, self.index.latents), self.values)

    def with_tokens(self, tokens: Tokens, strings: list[str] | None = None) -> "SparseCode":
        """The same code with its tokens beside it."""
        return replace(self, tokens=tokens, strings=strings)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, tokens included."""
        tensors = {"rows": self.index.rows, "latents": self.index.latents, "values": self.values.detach()}
        if self.tokens is not None:
            tensors |= {f"tokens.{name}": tensor for name, tensor in self.tokens.tensors().items()}
        sizes = {"batch": str(len(self)), "n_latents": str(self.n_latents)}
        metadata = sizes | ({} if self.strings is None else {"strings": json.dumps(self.strings)})
        with writing(path):
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "SparseCode":
        """Read what `save` wrote."""
        if not Path(path).exists():
            raise UserError(f"no code at {path}")
        try:
            with safe_open(path, "pt") as file:
                read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
            tokens = {name.removeprefix("tokens."): value for name, value in read.items() if name.startswith("tokens.")}
            index = _checked(read["rows"], read["latents"], int(metadata["batch"]), int(metadata["n_latents"]))
            strings = json.loads(metadata["strings"]) if "strings" in metadata else None
            if read["values"].shape != index.rows.shape or not read["values"].is_floating_point():
                raise ValueError("it has not one value for each entry")
            return cls(index, read["values"], Tokens(**tokens) if tokens else None, strings)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f"no code at {path}: {first_line(error)}") from error


def _checked(rows: Tensor, latents: Tensor, batch: int, n_latents: int) -> Index:
    """The index that a file describes; whatever relies on its order and range would fail later, or give nonsense."""
    for entries, size in ((rows, batch), (latents, n_latents)):
        if entries.dtype != torch.int64 or entries.shape != (len(rows),):
            raise ValueError("rows and latents are not two lists of as many whole numbers")
        if len(entries) and not 0 <= entries.min() <= entries.max() < size:
            raise ValueError(f"of {size} there is no number {int(entries.max())}")
    if (rows.diff() < 0).any():
        raise ValueError("its rows do not rise")
    return Index(rows, latents, batch, n_latents)


@dataclass(frozen=True)
class DenseCode:
    """f as [batch, n_latents], for codes too dense for a sparse one to profit; answers what a SparseCode answers.

    `dtype` is that of the products with it; None: its own.
    """

    f: Dense
    dtype: torch.dtype | None = None

    def decode(self, W_dec: Decoder) -> Acts:
        """Σ_j f_j W_dec[j], without the bias."""
        return product(self.f, W_dec, self.dtype)

    def __len__(self) -> int:
        return len(self.f)

    @property
    def n_latents(self) -> int:
        return self.f.shape[1]

    def scaled(self, weights: PerLatent, of: Callable[[Tensor], Tensor]) -> "DenseCode":
        """of(f_j · weights_j); `of` maps 0 to 0."""
        return DenseCode(of(self.f * weights), self.dtype)

    def weighted(self, weights: PerLatent) -> PerToken:
        """Σ_j f_j · weights_j for every token."""
        return self.f @ weights

    def part(self, start: int, stop: int) -> "DenseCode":
        """The code of latents `start` … `stop` − 1 alone."""
        return DenseCode(self.f[:, start:stop], self.dtype)

    def l0(self) -> PerToken:
        """How many latents are active on each token."""
        return (self.f > 0).sum(-1).float()

    def counts(self) -> Tensor:
        """On how many tokens each latent is active, [n_latents]."""
        return (self.f > 0).sum(0)

    def to_dense(self) -> Dense:
        """The code itself."""
        return self.f

    def to_sparse(self) -> SparseCode:
        """The same code as a SparseCode (detached)."""
        index = index_of(self.f > 0)
        return SparseCode(index, index.take(self.f.detach()))


Code = SparseCode | DenseCode
