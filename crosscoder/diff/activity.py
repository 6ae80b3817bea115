"""When a latent is active: how often, how strongly, on what kind of tokens, how far into a text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crosscoder.diff.base import Batch
from crosscoder.types import Kind

KINDS = Kind.NAMES[: Kind.SPECIAL]
POSITIONS = {"0-3": 0, "4-15": 4, "16-63": 16, "64+": 64}  # tokens into a piece of text, beginning of each range


class Activity:
    """Columns `dead`, `n_active`, `density`, `mean` (over all tokens), `mean_active`, `spread` (standard deviation where it is
    active, in units of `mean_active`), `max`; `density/<kind>`; shares of the activation mass: `template_share`,
    `position/<range>`.

    Dead: never active on these tokens. Densities of a kind are of that kind's tokens.
    """

    def __init__(self, n_latents: int) -> None:
        self.counts = torch.zeros(len(KINDS), n_latents, dtype=torch.int64)
        self.mass = torch.zeros(len(KINDS), n_latents, dtype=torch.float64)
        self.by_position = torch.zeros(len(POSITIONS), n_latents, dtype=torch.float64)
        self.squares = torch.zeros(n_latents, dtype=torch.float64)
        self.max = torch.zeros(n_latents)
        self.n_tokens = torch.zeros(len(KINDS), dtype=torch.int64)
        self.starts = torch.tensor(list(POSITIONS.values()))

    def update(self, batch: Batch) -> None:
        index, values = batch.code.index, batch.code.values.cpu()
        rows, latents = index.rows.cpu(), index.latents.cpu()
        kind = batch.tokens.kind
        bins = torch.bucketize(batch.tokens.position, self.starts, right=True) - 1
        self.n_tokens += torch.bincount(kind, minlength=len(KINDS))[: len(KINDS)]
        self.counts.index_put_((kind[rows], latents), torch.ones_like(latents), accumulate=True)
        self.mass.index_put_((kind[rows], latents), values.double(), accumulate=True)
        self.by_position.index_put_((bins[rows], latents), values.double(), accumulate=True)
        self.squares.index_add_(0, latents, values.double().square())
        self.max.scatter_reduce_(0, latents, values.float(), "amax")

    def columns(self) -> Mapping[str, Any]:
        counts, mass = self.counts.sum(0), self.mass.sum(0)
        n = int(self.n_tokens.sum())
        columns: dict[str, Tensor] = {
            "dead": counts == 0,
            "n_active": counts,
            "density": counts / n,
            **{f"density/{kind}": self.counts[i] / self.n_tokens[i].clamp(min=1) for i, kind in enumerate(KINDS)},
            "mean": mass / n,
            "mean_active": mass / counts.clamp(min=1),
            "spread": (self.squares * counts / mass.square().clamp(min=1e-30) - 1).clamp(min=0).sqrt(),
            "max": self.max,
            "template_share": self.mass[Kind.TEMPLATE] / mass.clamp(min=1e-30),
            **{
                f"position/{name}": part / mass.clamp(min=1e-30)
                for name, part in zip(POSITIONS, self.by_position, strict=True)
            },
        }
        return {name: column.numpy() for name, column in columns.items()}
