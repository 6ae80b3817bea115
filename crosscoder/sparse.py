"""The sparse code and the arithmetic on it, forward and backward.

A code of k entries per token in a dictionary of n_latents is kept as three arrays (row offsets, latent indices, values).
Of a dense training step's five GEMMs only the encoder's forward remains; with E the entries (token t, latent j) and
f their values, the rest are gathers over E:

    decode        x̂_t   = Σ_{j∈E_t} f_tj · W_dec[j]
    values' grad  ∂f_tj = ⟨∂x̂_t, W_dec[j]⟩
    decoder grad  ∂W_dec[j] = Σ_{t∈E_j} f_tj · ∂x̂_t
    encoder grad  ∂W_enc[j] = Σ_{t∈E_j} ∂f_tj · x_t

`embedding_bag` does each of these in one pass over contiguous rows. The two weight gradients run over the transposed
index (entries sorted by latent), so every gradient row is written once and the result does not depend on thread order.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import embedding_bag

from crosscoder.errors import UserError
from crosscoder.types import Acts, Decoder, Dense, Entries, Indices, PerLatent, PerToken, Tokens


@dataclass(frozen=True)
class Index:
    """Which latents are active on which token: entries (row, latent), by rising row and within a row by rising latent."""

    rows: Indices
    latents: Indices
    batch: int
    n_latents: int

    @cached_property
    def offsets(self) -> Tensor:
        """[batch]: where each row starts in `latents`."""
        counts = torch.bincount(self.rows, minlength=self.batch)
        return counts.cumsum(0) - counts

    @cached_property
    def transposed(self) -> tuple[Indices, Indices, Tensor]:
        """Entries sorted by latent: (the order, their rows, where each latent starts)."""
        order = torch.argsort(self.latents, stable=True)
        counts = torch.bincount(self.latents, minlength=self.n_latents)
        return order, self.rows[order], counts.cumsum(0) - counts

    def gather(self, values: Entries, table: Decoder) -> Acts:
        """Σ_{j∈E_t} values_tj · table[j] for every token t."""
        return embedding_bag(self.latents, table, self.offsets, mode="sum", per_sample_weights=values)

    def scatter(self, values: Entries, acts: Acts) -> Decoder:
        """Σ_{t∈E_j} values_tj · acts[t] for every latent j."""
        order, rows, starts = self.transposed
        return embedding_bag(rows, acts, starts, mode="sum", per_sample_weights=values[order])

    def dots(self, acts: Acts, table: Decoder) -> Entries:
        """⟨acts[t], table[j]⟩ for every entry (t, j)."""
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(
            acts.contiguous(), table, self.latents, self.offsets, self.rows, 0
        )

    def sum_by_latent(self, values: Entries) -> PerLatent:
        """Σ_t values_tj for every latent j."""
        return values.new_zeros(self.n_latents).index_add_(0, self.latents, values)


def index_of(active: Tensor) -> Index:
    """The index of a boolean mask [batch, n_latents]."""
    rows, latents = active.nonzero(as_tuple=True)
    return Index(rows, latents, *active.shape)


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

    def weighted(self, weights: PerLatent) -> PerToken:
        """Σ_j f_j · weights_j for every token."""
        terms = self.values * weights[self.index.latents]
        return terms.new_zeros(len(self)).index_add(0, self.index.rows, terms)

    def l0(self) -> PerToken:
        """How many latents are active on each token."""
        return torch.bincount(self.index.rows, minlength=len(self)).float()

    def counts(self) -> Tensor:
        """On how many tokens each latent is active, [n_latents]."""
        return torch.bincount(self.index.latents, minlength=self.n_latents)

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
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "SparseCode":
        """Read what `save` wrote."""
        if not Path(path).exists():
            raise UserError(f"no code at {path}")
        with safe_open(path, "pt") as file:
            read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        tokens = {name.removeprefix("tokens."): value for name, value in read.items() if name.startswith("tokens.")}
        index = Index(read["rows"], read["latents"], int(metadata["batch"]), int(metadata["n_latents"]))
        strings = json.loads(metadata["strings"]) if "strings" in metadata else None
        return cls(index, read["values"], Tokens(**tokens) if tokens else None, strings)


@dataclass(frozen=True)
class DenseCode:
    """f as [batch, n_latents], for codes too dense for a sparse one to profit; answers what a SparseCode answers."""

    f: Dense

    def decode(self, W_dec: Decoder) -> Acts:
        """Σ_j f_j W_dec[j], without the bias."""
        return self.f @ W_dec

    def __len__(self) -> int:
        return len(self.f)

    @property
    def n_latents(self) -> int:
        return self.f.shape[1]

    def weighted(self, weights: PerLatent) -> PerToken:
        """Σ_j f_j · weights_j for every token."""
        return self.f @ weights

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
        return SparseCode(index, self.f.detach()[index.rows, index.latents])


Code = SparseCode | DenseCode


# --- selection: which entries a code keeps. Ties break by position: the lower row, then the lower latent ---


def topk_rows(scores: Dense, k: int) -> Tensor:
    """Latents of the k largest scores of each row, [batch, k]; of equal scores the lower latent is kept."""
    k = min(k, scores.shape[1])
    if k == scores.shape[1]:
        return torch.arange(k, device=scores.device).expand(len(scores), k)
    values, latents = scores.topk(k + 1, dim=1)
    tied = (values[:, k] == values[:, k - 1]) & (values[:, k] > 0)
    latents = latents[:, :k]
    if tied.any():
        latents[tied] = scores[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return latents


def select_topk(scores: Dense, k: int) -> Index:
    """Per token the k largest positive scores."""
    latents = topk_rows(scores, k).sort(dim=1).values
    positive = scores.gather(1, latents) > 0
    rows = torch.arange(len(scores), device=scores.device)[:, None].expand_as(latents)
    return Index(rows[positive], latents[positive], *scores.shape)


def select_batch_topk(scores: Dense, k: int) -> Index:
    """Over the batch the k · batch largest positive scores (Bussmann et al. 2024), exactly.

    Only entries above a guess, read off a sample of the rows, are compared with each other. If they turn out too few,
    the guess was too high, and every positive entry is compared.
    """
    wanted = min(k * len(scores), scores.numel())
    index = index_of(scores > _guess(scores, k))
    if len(index.rows) < wanted:
        index = index_of(scores > 0)
    if len(index.rows) <= wanted:
        return index
    offered = scores[index.rows, index.latents]
    threshold = offered.kthvalue(len(offered) - wanted + 1).values
    keep = offered > threshold
    # entries equal to the threshold fill what is left, in order of position
    keep[(offered == threshold).nonzero()[: wanted - int(keep.sum()), 0]] = True
    return Index(index.rows[keep], index.latents[keep], *scores.shape)


def _guess(scores: Dense, k: int, rows: int = 64, slack: float = 1.5) -> Tensor:
    """A score that somewhat more than k entries a row exceed, on evenly spaced rows and latents."""
    sample = scores[:: max(1, len(scores) // rows), :: max(1, scores.shape[1] // 1024)].flatten()
    rank = min(int(slack * k * len(sample) / scores.shape[1]) + 1, len(sample))
    return sample.kthvalue(len(sample) - rank + 1).values.clamp(min=0)
