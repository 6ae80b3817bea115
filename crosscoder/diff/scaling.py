"""Latent scaling for all latents at once: how much of what a latent writes is present in each model. Minder et al. 2025, §3.

For a latent's direction d (its decoder in one of the contrasted sources) and a target y of a model m,

    β_j^m = argmin_β Σ_t ‖β f_tj d_j − y_t^m‖² = Σ_t f_tj ⟨d_j, y_t^m⟩ / (Σ_t f_tj² ‖d_j‖²)

with three targets: the *activation* x^m, the *reconstruction* x̂^m, and the leave-one-out *error* x^m − (x̂^m − f_j d_j^m).
As the last is a sum of the others, β^error = β^activation − β^reconstruction + ⟨d_j, d_j^m⟩ / ‖d_j‖². For the chat direction

    ν^r = β^{reconstruction, base} / β^{reconstruction, chat}     high: other latents write it into base      (Latent Decoupling)
    ν^ε = β^{error, base} / β^{error, chat}                       high: base has it, and nothing explains it  (Complete Shrinkage)

and for the base direction the models change places. All is in training units. Sums are kept per block of consecutive tokens,
so that the bootstrap over blocks needs no second pass: one pass, O(active latents) work per token, memory O(blocks ×
latents).
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from crosscoder.diff.base import Batch
from crosscoder.diff.norms import training_decoder
from crosscoder.model import Crosscoder
from crosscoder.sparse import Index

TARGETS: tuple[str, str, str] = ("activation", "reconstruction", "error")
QUANTILES = (0.025, 0.975)
AT_A_TIME = 4096  # latents whose bootstrap replicates are in memory together


class Scaling:
    """Columns `beta/<target>/<direction>/<model>`, `nu/<target>/<direction>` and the latter's 95 % interval, `…/low`, `…/high`.

    `supported/<source>` is ‖d^s‖ · max(0, β^{error, s}) along d^s: the norm that the data give the decoder, which a decoder that
    has not (yet) learnt, or has unlearnt, lacks.

    Args:
        crosscoder: folded; the contrast's sources have equal width.
        n_tokens: how many tokens will come.
        n_blocks: of consecutive tokens; they are what is resampled.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(
        self, crosscoder: Crosscoder, n_tokens: int, n_blocks: int = 64, n_resamples: int = 200, seed: int = 0
    ) -> None:
        self.contrast: tuple[str, str] = crosscoder.sources.contrast  # type: ignore[assignment]
        self.sources = crosscoder.sources
        self.decoders = {name: training_decoder(crosscoder, name).detach() for name in self.contrast}
        self.n_blocks, self.n_resamples, self.seed = min(n_blocks, max(n_tokens, 1)), n_resamples, seed
        self.n_tokens, self.seen = n_tokens, 0
        shape = (self.n_blocks, crosscoder.n_latents)
        self.squares = torch.zeros(shape)  # Σ f²
        keys: Iterator[tuple[str, str, str]] = product(TARGETS[:2], self.contrast, self.contrast)
        self.dots = {key: torch.zeros(shape) for key in keys}

    def update(self, batch: Batch) -> None:
        block = (self.seen + torch.arange(len(batch))) * self.n_blocks // self.n_tokens
        self.seen += len(batch)
        ends = block.unique_consecutive(return_counts=True)[1].cumsum(0).tolist()
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            self._add(int(block[start]), batch, start, end)

    def _add(self, block: int, batch: Batch, start: int, end: int) -> None:
        """Add tokens start … end of a batch to a block."""
        index, f = batch.code.index, batch.code.values
        entries = slice(int(index.starts[start]), int(index.starts[end]))
        f = f[entries]
        # only latents that are active here get a row in what follows
        latents, inverse = index.latents[entries].unique(return_inverse=True)
        part = Index(index.rows[entries] - start, inverse, end - start, len(latents))
        at = latents.cpu()
        self.squares[block, at] += part.sum_by_latent(f.square()).cpu()
        for model in self.contrast:
            columns = self.sources.slice(model)
            for target, y in (("activation", batch.acts), ("reconstruction", batch.recon)):
                mass = part.scatter(f, y[start:end, columns].contiguous())  # Σ_t f_tj y_t
                for direction in self.contrast:
                    dots = (mass * self.decoders[direction][latents]).sum(-1)
                    self.dots[target, direction, model][block, at] += dots.cpu()

    def columns(self) -> Mapping[str, Any]:
        whole = torch.ones(1, self.n_blocks, dtype=torch.float64)
        columns = {name: column[0] for name, column in self._resampled(whole, slice(None)).items()}
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(self.n_blocks, (self.n_resamples, self.n_blocks), generator=generator)
        counts = torch.zeros(self.n_resamples, self.n_blocks, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        bounds: dict[str, list[Tensor]] = {}
        for start in range(0, self.squares.shape[1], AT_A_TIME):
            replicates = self._resampled(counts, slice(start, start + AT_A_TIME))
            for name in (name for name in replicates if name.startswith(("nu/", "supported/"))):
                for suffix, quantile in zip(("low", "high"), QUANTILES, strict=True):
                    # a replicate without any firing says nothing: it is left out, and no replicate at all gives NaN
                    bounds.setdefault(f"{name}/{suffix}", []).append(replicates[name].nanquantile(quantile, dim=0))
        columns |= {name: torch.cat(parts) for name, parts in bounds.items()}
        return {name: columns[name].numpy() for name in sorted(columns)}

    def _resampled(self, counts: Tensor, latents: slice) -> dict[str, Tensor]:
        """Every β, ν and supported norm of these latents, [n_resamples, latents], with each block counted so many times."""
        squares = counts @ self.squares[:, latents].double()
        decoders = {name: decoder[latents].double().cpu() for name, decoder in self.decoders.items()}
        values: dict[str, Tensor] = {}
        for direction, model in product(self.contrast, self.contrast):
            d = decoders[direction]
            norm = d.square().sum(-1)
            activation, reconstruction = (
                counts @ self.dots[target, direction, model][:, latents].double() / (squares * norm)
                for target in TARGETS[:2]
            )
            own = (d * decoders[model]).sum(-1) / norm
            betas = (activation, reconstruction, activation - reconstruction + own)
            values |= {f"beta/{target}/{direction}/{model}": beta for target, beta in zip(TARGETS, betas, strict=True)}
        for direction, other in self._directions():
            for target in TARGETS:
                here, there = (values[f"beta/{target}/{direction}/{model}"] for model in (direction, other))
                values[f"nu/{target}/{direction}"] = there / here
            norm = decoders[direction].norm(dim=-1)
            supported = norm * values[f"beta/error/{direction}/{direction}"].clamp(min=0)
            values[f"supported/{direction}"] = torch.where(
                norm > 0, supported, 0.0
            )  # a decoder of zero has no direction
        return values

    def _directions(self) -> Iterator[tuple[str, str]]:
        first, second = self.contrast
        return iter(((first, second), (second, first)))
