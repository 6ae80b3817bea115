"""Null controls: pairs in which only noise, or everything, differs.

    noise      chat := base + noise with each token's own ‖chat − base‖ and the spectrum of the
               directions, but no other information
    shuffled   the tokens of chat in another order: the two streams are unrelated

Each of them is a transform, which is applied when a store is read (transforms.py). A third control
plants features of known kinds (plants.py).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.data.storage.store import Store
from crosscoder.data.synthetic.transforms import Transform

Streams = dict[str, Tensor]


def make_noise(store: Store, diff_pair: tuple[str, str], n_tokens: int = 100_000) -> Transform:
    """Return a transform that replaces the difference of two sources by independent noise.

    The spectrum of the noise is that of the unit differences of the first `n_tokens` tokens.
    """
    first, second = diff_pair
    spectrum, directions = torch.linalg.eigh(_measure_covariance(store, diff_pair, n_tokens))
    root = directions * _find_deviations(spectrum.clamp(min=0))

    def transform(streams: Streams, eligible: Tensor, generator: torch.Generator) -> Streams:
        size = (streams[first] - streams[second]).norm(dim=-1, keepdim=True)
        gaussian = torch.randn(size.shape[0], len(root), generator=generator)
        drawn = normalize(gaussian @ root.T, dim=-1)
        return streams | {first: streams[second] + size * drawn}

    return transform


def _measure_covariance(store: Store, diff_pair: tuple[str, str], n_tokens: int) -> Tensor:
    """Return the second moments of the unit differences, [d_source, d_source] float32."""
    first, second = diff_pair
    width = store.sources[first].width
    square = torch.zeros(width, width, dtype=torch.float64)
    n = 0
    for shard in store:
        acts = store.sources.subset(diff_pair).split(store.acts(shard, diff_pair).float())
        unit = normalize(acts[first] - acts[second], dim=-1).double()
        square = square + unit.T @ unit
        n += len(unit)
        if n >= n_tokens:
            break
    return (square / n).float()


def _find_deviations(spectrum: Tensor, steps: int = 30, n: int = 8192) -> Tensor:
    """Find the standard deviations of a Gaussian whose *unit* vectors have this spectrum.

    Normalising a Gaussian changes its spectrum, so the variances are found by fixed-point
    iteration.
    """
    z = torch.randn(n, len(spectrum), generator=torch.Generator().manual_seed(0))
    variances = spectrum.clone()
    for _ in range(steps):
        drawn = normalize(z * variances.sqrt(), dim=-1).square().mean(0)
        variances *= (spectrum / drawn.clamp(min=1e-12)).sqrt()
    return variances.sqrt()


def make_shuffle(diff_pair: tuple[str, str]) -> Transform:
    """Return a transform that permutes the first source's eligible tokens within each shard."""
    name = diff_pair[0]

    def transform(streams: Streams, eligible: Tensor, generator: torch.Generator) -> Streams:
        rows = eligible.nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        moved = streams[name].clone()
        moved[rows] = streams[name][rows[order]]
        return streams | {name: moved}

    return transform
