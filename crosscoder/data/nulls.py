"""Pairs in which nothing, or only noise, or only something known differs, made from a harvested pair as it is read.

noise      chat := base + noise that has each token's own ‖chat − base‖ and the directions' spectrum, and knows nothing else
shuffled   chat's tokens in another order: the streams have nothing to do with each other
planted    chat := chat + Σ_i a_ti u_i on known tokens: exclusive features that must be found
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.data.changed import Change
from crosscoder.data.store import Store

Streams = dict[str, Tensor]


def noise(store: Store, contrast: tuple[str, str], n_tokens: int = 100_000) -> Change:
    """Independent noise in place of the difference; its spectrum is that of the unit differences of these first tokens."""
    first, second = contrast
    square, n = torch.zeros(store.sources[first].width, store.sources[first].width, dtype=torch.float64), 0
    for shard in store:
        acts = store.sources.subset(contrast).split(store.acts(shard, contrast).float())
        unit = normalize(acts[first] - acts[second], dim=-1).double()
        square, n = square + unit.T @ unit, n + len(unit)
        if n >= n_tokens:
            break
    values, vectors = torch.linalg.eigh((square / n).float())
    root = vectors * _deviations(values.clamp(min=0))

    def change(streams: Streams, ordinary: Tensor, generator: torch.Generator) -> Streams:
        size = (streams[first] - streams[second]).norm(dim=-1, keepdim=True)
        drawn = normalize(torch.randn(size.shape[0], len(root), generator=generator) @ root.T, dim=-1)
        return streams | {first: streams[second] + size * drawn}

    return change


def _deviations(spectrum: Tensor, steps: int = 30, n: int = 8192) -> Tensor:
    """Standard deviations of a Gaussian whose *unit* vectors have this spectrum: its own is not theirs."""
    z = torch.randn(n, len(spectrum), generator=torch.Generator().manual_seed(0))
    variances = spectrum.clone()
    for _ in range(steps):
        drawn = normalize(z * variances.sqrt(), dim=-1).square().mean(0)
        variances *= (spectrum / drawn.clamp(min=1e-12)).sqrt()
    return variances.sqrt()


def shuffled(contrast: tuple[str, str]) -> Change:
    """The first source's tokens permuted within each shard; special ones stay where they are."""

    def change(streams: Streams, ordinary: Tensor, generator: torch.Generator) -> Streams:
        rows = ordinary.nonzero()[:, 0]
        moved = streams[contrast[0]].clone()
        moved[rows] = streams[contrast[0]][rows[torch.randperm(len(rows), generator=generator)]]
        return streams | {contrast[0]: moved}

    return change


@dataclass(frozen=True)
class Plant:
    """Features added to one source alone.

    Args:
        source: which.
        directions: unit vectors [n, d_source].
        rates: share of the tokens each is on, [n].
        sizes: its mean size in raw units, [n]; single sizes are log-normal.
        spreads: standard deviation of a single size, in units of the mean, [n].
    """

    source: str
    directions: Tensor
    rates: Tensor
    sizes: Tensor
    spreads: Tensor

    @classmethod
    def like(cls, source: str, width: int, rates: Tensor, sizes: Tensor, spreads: Tensor, n: int, seed: int) -> "Plant":
        """`n` features in random directions, each with rate, size and spread of another latent, given those of all.

        Latents are drawn in proportion to their energy, the mean of their squared size over all tokens.
        """
        generator = torch.Generator().manual_seed(seed)
        energy = (rates * sizes.square() * (1 + spreads.square())).double()
        chosen = torch.multinomial(energy, min(n, int((energy > 0).sum())), generator=generator)
        directions = normalize(torch.randn(len(chosen), width, generator=generator), dim=-1)
        return cls(source, directions, *(part[chosen].float() for part in (rates, sizes, spreads)))

    def draw(self, ordinary: Tensor, generator: torch.Generator) -> Tensor:
        """a [tokens, n]: where each feature is on, and how strongly; nowhere on special tokens."""
        on = torch.rand(len(ordinary), len(self.rates), generator=generator) < self.rates
        variance = (1 + self.spreads.square()).log()
        size = self.sizes * (variance.sqrt() * torch.randn(on.shape, generator=generator) - variance / 2).exp()
        return on * size * ordinary[:, None]

    def __call__(self, streams: Streams, ordinary: Tensor, generator: torch.Generator) -> Streams:
        return streams | {self.source: streams[self.source] + self.draw(ordinary, generator) @ self.directions}
