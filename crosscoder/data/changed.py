"""A store whose activations are changed as they are read: what null controls are made of. Nothing is written."""

from collections.abc import Callable, Sequence
from zlib import crc32

import torch
from torch import Tensor

from crosscoder.data.store import Store
from crosscoder.sources import Sources

Change = Callable[[dict[str, Tensor], Tensor, torch.Generator], dict[str, Tensor]]
"""(activations by source [n, d_source] in float32, which rows are not special [n], a generator) → new activations."""


class Changed(Store):
    """Reads as `store` does, but for `change`, which is applied to each shard whole and always in the same way.

    The generator it is given is seeded by `seed`, the shard, and the store's tokens.
    """

    def __init__(self, store: Store, change: Change, seed: int) -> None:
        super().__init__(store.folder)
        self.change, self.seed = change, seed

    def acts(self, shard: int, names: Sequence[str], rows: Tensor | None = None) -> Tensor:
        sources: Sources = self.sources
        streams = sources.split(super().acts(shard, sources.names))
        generator = torch.Generator().manual_seed(crc32(f"{self.seed} {shard} {self.tokens_sha256}".encode()))
        ordinary = self.tokens(shard).ordinary
        changed = self.change({name: acts.float() for name, acts in streams.items()}, ordinary, generator)
        acts = torch.cat([changed[name].to(streams[name].dtype) for name in names], dim=-1)
        return acts if rows is None else acts[rows]
