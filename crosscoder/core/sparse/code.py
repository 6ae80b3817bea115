"""Codes of a batch of tokens: sparse as (index, values), or dense as a matrix."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from crosscoder.core.sparse.autograd import DecodeEntries, EncodeEntries, product
from crosscoder.core.sparse.file import CodeContent, read_code, write_code
from crosscoder.core.sparse.index import Index
from crosscoder.core.sparse.summary import (
    ActiveLatents,
    Table,
    describe_code,
    find_row,
    format_html,
    list_active,
)
from crosscoder.core.types import Acts, Decoder, Dense, Entries, PerLatent, PerToken, Tokens
from crosscoder.errors import UserError
from crosscoder.terminal.escapes import escape_controls

# rows of a code in a notebook, and latents in each row
N_ROWS = 30
N_LATENTS = 8


@dataclass(frozen=True)
class SparseCode:
    """Code f as (index, values), with the tokens it was computed on where they are known."""

    index: Index
    values: Entries
    tokens: Tokens | None = None
    strings: list[str] | None = None

    @classmethod
    def encode(
        cls, acts: Acts, W_enc: Decoder, b_enc: PerLatent, index: Index, values: Entries
    ) -> "SparseCode":
        """Build the code of selected entries, with gradients to the encoder's weights."""
        return cls(index, EncodeEntries.apply(acts, W_enc, b_enc, values, index))

    def decode(self, W_dec: Decoder) -> Acts:
        """Return Σ_j f_j W_dec[j], without the bias."""
        return DecodeEntries.apply(self.values, W_dec, self.index)

    def __len__(self) -> int:
        return self.index.batch

    @property
    def n_latents(self) -> int:
        return self.index.n_latents

    @property
    def requires_grad(self) -> bool:
        """Return whether the code has a gradient, which codes of `Crosscoder.encode` have not."""
        return self.values.requires_grad

    def map_values(self, weights: PerLatent, function: Callable[[Tensor], Tensor]) -> "SparseCode":
        """Return the code function(f_j · weights_j); the function maps 0 to 0."""
        return SparseCode(self.index, function(self.values * weights[self.index.latents]))

    def weighted_sum(self, weights: PerLatent) -> PerToken:
        """Return Σ_j f_j · weights_j for every token."""
        return self.index.sum_by_token(self.values * weights[self.index.latents])

    def slice(self, start: int, stop: int) -> "SparseCode":
        """Return the code of the latents `start` … `stop` − 1 alone."""
        latents = self.index.latents
        entries = ((latents >= start) & (latents < stop)).nonzero()[:, 0]
        rows = self.index.rows[entries]
        index = Index(rows, latents[entries] - start, len(self), stop - start)
        return SparseCode(index, self.values[entries])

    def l0(self) -> PerToken:
        """Return the number of active latents of each token."""
        return self.index.counts.float()

    def counts(self) -> Tensor:
        """Return the number of tokens on which each latent is active, [n_latents]."""
        return self.index.counts_by_latent

    def to_dense(self) -> Dense:
        """Return the same code as [batch, n_latents]."""
        dense = self.values.new_zeros(len(self), self.n_latents)
        return dense.index_put((self.index.rows, self.index.latents), self.values)

    def to_sparse(self) -> "SparseCode":
        """Return the code itself."""
        return self

    def top(self, token: int | str, n: int = 10, table: Table | None = None) -> ActiveLatents:
        """List the latents that are most active on a token, largest activation first.

        Args:
            token: Number of the token, or its text if it occurs once.
            n: Largest number of latents.
            table: LatentTable, from which verdicts and labels are taken.

        Raises:
            UserError: There is no such token.
        """
        row = find_row(token, len(self), self.strings)
        start, end = self.index.starts[row : row + 2].tolist()
        name = f"token {row}"
        if self.strings is not None:
            name += f" {self.strings[row]!r}"
        values = self.values[start:end].detach()
        return list_active(values, self.index.latents[start:end], name, n, table)

    def __repr__(self) -> str:
        return f"SparseCode({self._describe()})"

    def _describe(self) -> str:
        mass = self.index.sum_by_latent(self.values.detach().float())
        return describe_code(len(self), self.n_latents, self.l0(), mass)

    def _repr_html_(self) -> str:
        if self.strings is None:
            return f"<p>SparseCode: {self._describe()}</p>"
        cells = [("token", "text", "L0", "top latents")]
        for row in range(min(len(self), N_ROWS)):
            top = self.top(row, N_LATENTS)
            latents = ", ".join(str(active.latent) for active in top)
            l0 = str(int(self.index.counts[row]))
            cells.append((str(row), escape_controls(self.strings[row]), l0, latents))
        return f"<p>SparseCode: {self._describe()}</p>{format_html(cells)}"

    def with_tokens(self, tokens: Tokens, strings: list[str] | None = None) -> "SparseCode":
        """Return the same code together with its tokens."""
        return replace(self, tokens=tokens, strings=strings)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, tokens included."""
        write_code(path, CodeContent(self.index, self.values, self.tokens, self.strings))

    @classmethod
    def load(cls, path: str | Path) -> "SparseCode":
        """Read what `save` wrote.

        Raises:
            UserError: The file is missing, or it holds no sparse code.
        """
        return cls(*read_code(path))


@dataclass(frozen=True)
class DenseCode:
    """Code f as [batch, n_latents], for codes too dense for a sparse one to be faster.

    It has the methods of a SparseCode. `dtype` is that of matrix products with it; None: its own.
    """

    f: Dense
    dtype: torch.dtype | None = None

    def decode(self, W_dec: Decoder) -> Acts:
        """Return Σ_j f_j W_dec[j], without the bias."""
        return product(self.f, W_dec, self.dtype)

    def __len__(self) -> int:
        return len(self.f)

    def __post_init__(self) -> None:
        if not isinstance(self.f, Tensor) or self.f.dim() != 2 or not self.f.is_floating_point():
            shape = list(self.f.shape) if isinstance(self.f, Tensor) else type(self.f).__name__
            raise UserError(f"f is a floating-point tensor [tokens, n_latents], not {shape}")

    @property
    def n_latents(self) -> int:
        return self.f.shape[1]

    @property
    def requires_grad(self) -> bool:
        """Return whether the code has a gradient, which codes of `Crosscoder.encode` have not."""
        return self.f.requires_grad

    def top(self, token: int | str, n: int = 10, table: Table | None = None) -> ActiveLatents:
        """List the latents that are most active on a token (see `SparseCode.top`)."""
        return self.to_sparse().top(token, n, table)

    def __repr__(self) -> str:
        mass = self.f.detach().float().sum(0)
        return f"DenseCode({describe_code(len(self), self.n_latents, self.l0(), mass)})"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>"

    def map_values(self, weights: PerLatent, function: Callable[[Tensor], Tensor]) -> "DenseCode":
        """Return the code function(f_j · weights_j); the function maps 0 to 0."""
        return DenseCode(function(self.f * weights), self.dtype)

    def weighted_sum(self, weights: PerLatent) -> PerToken:
        """Return Σ_j f_j · weights_j for every token."""
        return self.f @ weights

    def slice(self, start: int, stop: int) -> "DenseCode":
        """Return the code of the latents `start` … `stop` − 1 alone."""
        return DenseCode(self.f[:, start:stop], self.dtype)

    def l0(self) -> PerToken:
        """Return the number of active latents of each token."""
        return (self.f > 0).sum(-1).float()

    def counts(self) -> Tensor:
        """Return the number of tokens on which each latent is active, [n_latents]."""
        return (self.f > 0).sum(0)

    def to_dense(self) -> Dense:
        """Return the code itself as [batch, n_latents]."""
        return self.f

    def to_sparse(self) -> SparseCode:
        """Return the same code as a SparseCode, detached."""
        index = Index.from_mask(self.f > 0)
        return SparseCode(index, index.take(self.f.detach()))


Code = SparseCode | DenseCode
