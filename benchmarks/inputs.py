"""Inputs of benchmarks: two sources of one width, and stores of random activations."""

from pathlib import Path

import torch

from crosscoder.core.sources import Source, Sources
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store


def pair(width: int) -> Sources:
    """Return sources `base` and `chat` of one width."""
    names = ("base", "chat")
    return Sources(
        tuple(Source(name, width, name, "resid_post.0") for name in names),
        diff_pair=("chat", "base"),
    )


def random_store(
    folder: Path,
    sources: Sources,
    n_tokens: int,
    shard_tokens: int = 16_384,
    numbered: bool = False,
) -> Store:
    """Write a store of normal activations in bfloat16.

    Args:
        folder: Folder of the store.
        sources: Sources of the store.
        n_tokens: Number of tokens.
        shard_tokens: Tokens per shard.
        numbered: Whether the first three dimensions hold the row number, in base 256.
    """
    counts = [min(shard_tokens, n_tokens - start) for start in range(0, n_tokens, shard_tokens)]
    streams = {s.name: {"width": s.width, "lm": s.lm, "hookpoint": s.hookpoint} for s in sources}
    meta = {
        "sources": streams,
        "contrast": list(sources.diff_pair or ()),
        "dtype": "bfloat16",
        "counts": counts,
    }
    store = Store.create(folder, meta | {"seq_len": 1, "tokens_sha256": "random"})
    generator = torch.Generator().manual_seed(1)
    for shard, rows in enumerate(torch.arange(n_tokens).split(counts)):
        kind = torch.full_like(rows, Kind.PLAIN)
        store.write(
            shard, "tokens", Tokens(rows, torch.zeros_like(rows), rows.clone(), kind).tensors()
        )
        for source in sources:
            acts = torch.randn(len(rows), source.width, generator=generator).bfloat16()
            if numbered:
                acts[:, :3] = torch.stack(
                    [rows % 256, rows // 256 % 256, rows // 65536], dim=1
                ).bfloat16()
            store.write(shard, source.name, {"acts": acts})
    return store
