"""A small crosscoder on a store with all kinds of tokens, with its code in one piece in float64."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Kind
from crosscoder.data import Store
from tests.helpers.small import crosscoder_of, store_of

N = 400
COUNTS = [150, 150, 100]


@dataclass(frozen=True)
class Analysed:
    """A crosscoder, its store, and its code `f` on it.

    `x` and `recon` are in training units; special tokens are left out everywhere.
    """

    crosscoder: Crosscoder
    store: Store
    f: Tensor
    x: dict[str, Tensor]
    recon: dict[str, Tensor]
    kind: Tensor
    decoders: dict[str, Tensor]

    def table(self, **settings) -> LatentTable:
        return Analysis(
            **{"n_blocks": 8, "n_resamples": 20, "batch_size": 64} | settings
        ).make_table(self.crosscoder, self.store)


def analysed(
    folder: Path, widths: tuple[int, ...] = (6, 6), n_latents: int = 40, seed: int = 0
) -> Analysed:
    generator = torch.Generator().manual_seed(seed)
    names = ("base", "chat", "third")[: len(widths)]
    streams = {
        name: torch.randn(N, width, generator=generator) * 3 + 1
        for name, width in zip(names, widths, strict=True)
    }
    kind = torch.randint(4, (N,), generator=generator)
    store = store_of(folder, streams, COUNTS, kind)
    crosscoder = crosscoder_of(TopK(5), widths, n_latents, seed)
    crosscoder.b_enc.data[:3] = -100  # dead
    crosscoder.set_units(
        torch.randn(sum(widths), generator=generator),
        torch.cat([torch.full((w,), 0.5 + i) for i, w in enumerate(widths)]),
    )
    folded = crosscoder.fold()
    raw = torch.cat([streams[name] for name in names], dim=1)[kind != Kind.SPECIAL]
    code = folded.encode(raw)
    sources = folded.sources
    return Analysed(
        folded,
        store,
        code.to_dense().detach().double(),
        {name: x.double() for name, x in sources.split(folded.normalise(raw)).items()},
        {
            name: x.detach().double()
            for name, x in sources.split(folded.normalise(folded.decode(code))).items()
        },
        kind[kind != Kind.SPECIAL],
        {
            name: d.detach().double()
            for name, d in sources.split(folded.W_dec / folded.scale).items()
        },
    )
