"""Stores whose activations are transformed when they are read, for null controls.

Nothing is written to disk.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

import torch
from torch import Tensor

from crosscoder.data.exclude import EXCLUDE
from crosscoder.data.storage.store import Store

Transform = Callable[[dict[str, Tensor], Tensor, torch.Generator], dict[str, Tensor]]
"""Maps (activations by source [n, d_source] in float32, mask of eligible rows [n], generator) to
new activations by source."""


class TransformedStore(Store):
    """A store whose activations are transformed, shard by shard and always in the same way.

    Args:
        store: The store that is read. Its original norms decide which tokens are outliers.
        transform: The transformation of one shard.
        seed: Random seed of the transformation, together with the shard and the store's tokens.
        exclude: Kinds of tokens that are not eligible.
    """

    def __init__(
        self, store: Store, transform: Transform, seed: int, exclude: Sequence[str] = EXCLUDE
    ) -> None:
        super().__init__(store.folder)
        self.transform = transform
        self.seed = seed
        self.exclude = exclude

    def acts(self, shard: int, names: Sequence[str], rows: Tensor | None = None) -> Tensor:
        sources = self.sources
        streams = sources.split(super().acts(shard, sources.names))
        seed = crc32(f"{self.seed} {shard} {self.tokens_sha256}".encode())
        generator = torch.Generator().manual_seed(seed)
        eligible = self.find_eligible(shard, sources.names, self.exclude)
        originals = {name: acts.float() for name, acts in streams.items()}
        transformed = self.transform(originals, eligible, generator)
        acts = torch.cat([transformed[name].to(streams[name].dtype) for name in names], dim=-1)
        return acts if rows is None else acts[rows]
