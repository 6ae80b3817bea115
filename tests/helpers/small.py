"""Small crosscoders and stores, asymmetric so that a mixed-up axis or source shows."""

from pathlib import Path

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from crosscoder.io.checksum import compute_sha256


def sources_of(*widths: int) -> Sources:
    """Return sources base, chat and third of these widths; chat is compared with base."""
    names = ("base", "chat", "third")[: len(widths)]
    items = tuple(
        Source(name, width, name, "resid_post.1") for name, width in zip(names, widths, strict=True)
    )
    return Sources(items, diff_pair=("chat", "base") if len(widths) > 1 else None)


def crosscoder_of(
    activation: Activation,
    widths: tuple[int, ...] = (6, 6),
    n_latents: int = 24,
    seed: int = 0,
    dtype: str = "float32",
) -> Crosscoder:
    """Return random weights with nonzero biases and different decoders; products are in `dtype`."""
    made = Crosscoder(sources_of(*widths), n_latents, activation, seed=seed, gemm_dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return made.to(getattr(torch, dtype))


def random_acts(
    batch: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Activations [batch, width] of unit variance."""
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def store_of(
    folder: Path, streams: dict[str, Tensor], counts: list[int], kind: Tensor | None = None
) -> Store:
    """Write a complete store of these activations by source, in shards of these sizes."""
    n, entries = (
        sum(counts),
        {name: {"width": x.shape[1], "lm": name, "hookpoint": ""} for name, x in streams.items()},
    )
    meta = {
        "sources": entries,
        "contrast": None,
        "dtype": "float32",
        "counts": counts,
        "seq_len": 1,
    }
    store = Store.create(folder, meta | {"tokens_sha256": "of nothing"})
    rows = torch.arange(n)
    tokens = Tokens(
        rows, torch.zeros_like(rows), rows, torch.full((n,), Kind.PLAIN) if kind is None else kind
    )
    for shard, part in enumerate(rows.split(counts)):
        store.write(shard, "tokens", tokens[part].tensors())
        for name, acts in streams.items():
            store.write(shard, name, {"acts": acts[part]})
    return store


def whole_shards(root: Path) -> dict[Path, tuple[int, int]]:
    """Check the shards under a folder; return inode and time of each, which writing changes."""
    found = {}
    for meta in root.glob("*/meta.json"):
        entries = Store(meta.parent).meta
        columns = {name: entry["checksums"] for name, entry in entries["sources"].items()}
        for column, checksums in {"tokens": entries["tokens_checksums"], **columns}.items():
            for shard, checksum in enumerate(checksums):
                if checksum is not None:
                    path = meta.parent / f"{shard:05d}.{column}.safetensors"
                    assert compute_sha256(path) == checksum
                    found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found
