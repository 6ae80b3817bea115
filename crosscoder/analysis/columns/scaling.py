"""Latent scaling of all latents at once: how much of what a latent writes each model contains.

Minder et al. 2025, §3. For a latent's direction d (its decoder in one of the compared sources) and
a target y of a model m,

    β_j^m = argmin_β Σ_t ‖β f_tj d_j − y_t^m‖² = Σ_t f_tj ⟨d_j, y_t^m⟩ / (Σ_t f_tj² ‖d_j‖²)

with three targets: the *activation* x^m, the *reconstruction* x̂^m, and the leave-one-out *error*
x^m − (x̂^m − f_j d_j^m). The last is a sum of the others, so β^error = β^activation −
β^reconstruction + ⟨d_j, d_j^m⟩ / ‖d_j‖². For the chat direction

    ν^r = β^{reconstruction, base} / β^{reconstruction, chat}
    ν^ε = β^{error, base} / β^{error, chat}

and for the base direction the models change places. A high ν^r says that other latents write the
direction into base (Latent Decoupling); a high ν^ε that base has the direction and no latent
explains it (Complete Shrinkage). All values are in training units. Sums are kept per block of
consecutive tokens, so that the bootstrap over blocks needs no second pass: one pass, O(active
latents) work per token, memory O(blocks × latents).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor

from crosscoder.analysis.base import Batch, ColumnNeeds, StreamedColumn, TableContext
from crosscoder.analysis.columns.norms import training_decoder
from crosscoder.core.sparse import Index

MEASURED_TARGETS: tuple[str, ...] = ("activation", "reconstruction")
TARGETS: tuple[str, ...] = (*MEASURED_TARGETS, "error")
QUANTILES = {"low": 0.025, "high": 0.975}
LATENTS_PER_CHUNK = 4096  # latents whose bootstrap replicates are in memory together

# the quantity ("beta", "nu" or "supported"), then what it is of: target, direction and model
Key = tuple[str, ...]


@dataclass(frozen=True)
class Scaling(StreamedColumn):
    """Columns `beta/<target>/<direction>/<model>`, `nu/<target>/<direction>`, `supported/<source>`.

    `supported/<source>` is ‖d^s‖ · max(0, β^{error, s}) along d^s: the decoder norm that the data
    support. It differs from the decoder's own norm where training has not (yet) learnt the latent,
    or has unlearnt it. `…/low` and `…/high` are 95 % intervals of ν and of the supported norm.
    """

    needs: ClassVar[ColumnNeeds] = ColumnNeeds(comparable_pair=True)

    def start(self, context: TableContext) -> "ScalingSums":
        return ScalingSums(context)


class ScalingSums:
    """Sums per block of tokens: Σ f², and Σ f ⟨d, y⟩ by target, direction and model.

    Args:
        context: Its crosscoder's compared sources have equal width.
    """

    def __init__(self, context: TableContext) -> None:
        crosscoder = context.crosscoder
        self.diff_pair = context.diff_pair
        self.sources = crosscoder.sources
        self.decoders = {
            name: training_decoder(crosscoder, name).detach() for name in self.diff_pair
        }
        self.n_tokens = context.n_tokens
        self.n_blocks = min(context.n_blocks, max(context.n_tokens, 1))
        self.n_resamples = context.n_resamples
        self.seed = context.seed
        self.n_seen = 0
        shape = (self.n_blocks, crosscoder.n_latents)
        self.squares = torch.zeros(shape)  # Σ f²
        keys = product(MEASURED_TARGETS, self.diff_pair, self.diff_pair)
        self.dots = {key: torch.zeros(shape) for key in keys}

    def update(self, batch: Batch) -> None:
        rows = self.n_seen + torch.arange(len(batch))
        block = rows * self.n_blocks // self.n_tokens
        self.n_seen += len(batch)
        counts = block.unique_consecutive(return_counts=True)[1]
        ends = counts.cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        for start, end in zip(starts, ends, strict=True):
            self._add(int(block[start]), batch, start, end)

    def _add(self, block: int, batch: Batch, start: int, end: int) -> None:
        """Add tokens start … end of a batch to a block."""
        index = batch.code.index
        entries = slice(int(index.starts[start]), int(index.starts[end]))
        f = batch.code.values[entries]
        # only latents that are active here get a row below
        latents, inverse = index.latents[entries].unique(return_inverse=True)
        block_index = Index(index.rows[entries] - start, inverse, end - start, len(latents))
        columns = latents.cpu()
        self.squares[block, columns] += block_index.sum_by_latent(f.square()).cpu()
        targets = (("activation", batch.acts), ("reconstruction", batch.recon))
        for model in self.diff_pair:
            dims = self.sources.slice(model)
            for target, y in targets:
                mass = block_index.scatter(f, y[start:end, dims].contiguous())  # Σ_t f_tj y_t
                for direction in self.diff_pair:
                    dots = (mass * self.decoders[direction][latents]).sum(-1)
                    self.dots[target, direction, model][block, columns] += dots.cpu()

    def columns(self) -> Mapping[str, Any]:
        each_block_once = torch.ones(1, self.n_blocks, dtype=torch.float64)
        estimates = self._estimate(each_block_once, slice(None))
        columns = {key: estimate[0] for key, estimate in estimates.items()}
        columns |= self._bootstrap_intervals()
        named = {"/".join(key): column.numpy() for key, column in columns.items()}
        return dict(sorted(named.items()))

    def _bootstrap_intervals(self) -> dict[Key, Tensor]:
        """Return the ends of the 95 % interval of every ν and supported norm."""
        counts = self._resample_blocks()
        bounds: dict[Key, list[Tensor]] = {}
        n_latents = self.squares.shape[1]
        for start in range(0, n_latents, LATENTS_PER_CHUNK):
            replicates = self._estimate(counts, slice(start, start + LATENTS_PER_CHUNK))
            for key, values in replicates.items():
                if key[0] == "beta":
                    continue
                for end, quantile in QUANTILES.items():
                    # replicates in which the latent never fires are left out; NaN if all are
                    bound = values.nanquantile(quantile, dim=0)
                    bounds.setdefault((*key, end), []).append(bound)
        return {key: torch.cat(chunks) for key, chunks in bounds.items()}

    def _resample_blocks(self) -> Tensor:
        """Draw blocks with replacement; return how often each is drawn, [n_resamples, n_blocks]."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.n_resamples, self.n_blocks)
        drawn = torch.randint(self.n_blocks, shape, generator=generator)
        counts = torch.zeros(shape, dtype=torch.float64)
        return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))

    def _estimate(self, counts: Tensor, latents: slice) -> dict[Key, Tensor]:
        """Return every β, ν and supported norm of some latents, [n_resamples, latents].

        Args:
            counts: Weight of each block in each resample, [n_resamples, n_blocks].
            latents: Range of latents.
        """
        squares = counts @ self.squares[:, latents].double()
        decoders = {
            name: decoder[latents].double().cpu() for name, decoder in self.decoders.items()
        }
        values: dict[Key, Tensor] = {}
        for direction, model in product(self.diff_pair, self.diff_pair):
            d = decoders[direction]
            squared_norm = d.square().sum(-1)
            beta = {}
            for target in MEASURED_TARGETS:
                dots = counts @ self.dots[target, direction, model][:, latents].double()
                beta[target] = dots / (squares * squared_norm)
            own = (d * decoders[model]).sum(-1) / squared_norm
            beta["error"] = beta["activation"] - beta["reconstruction"] + own
            for target in TARGETS:
                values["beta", target, direction, model] = beta[target]

        first, second = self.diff_pair
        for direction, other in ((first, second), (second, first)):
            for target in TARGETS:
                own_beta = values["beta", target, direction, direction]
                other_beta = values["beta", target, direction, other]
                values["nu", target, direction] = other_beta / own_beta
            norm = decoders[direction].norm(dim=-1)
            supported = norm * values["beta", "error", direction, direction].clamp(min=0)
            # a decoder of zero has no direction
            values["supported", direction] = torch.where(norm > 0, supported, 0.0)
        return values
