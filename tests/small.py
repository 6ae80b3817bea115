"""Small crosscoders and stores to test with. Nothing in them is symmetric, so that a mixed-up axis or source shows."""

from pathlib import Path

import torch
from torch import Tensor

from crosscoder.activations import Activation
from crosscoder.data import Store
from crosscoder.lm.pinned import sha256
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources
from crosscoder.types import Kind, Tokens


def sources_of(*widths: int) -> Sources:
    """`base` and `chat`, or further names, of these widths; the second is contrasted with the first."""
    names = ("base", "chat", "third")[: len(widths)]
    items = tuple(Source(name, width, name, "resid_post.1") for name, width in zip(names, widths, strict=True))
    return Sources(items, contrast=("chat", "base") if len(widths) > 1 else None)


def crosscoder_of(
    activation: Activation, widths: tuple[int, ...] = (6, 6), n_latents: int = 24, seed: int = 0, dtype: str = "float32"
) -> Crosscoder:
    """Random weights with nonzero biases and decoders that differ between sources; every product in `dtype`."""
    made = Crosscoder(sources_of(*widths), n_latents, activation, seed=seed, gemm_dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return made.to(getattr(torch, dtype))


def random_acts(batch: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Activations [batch, width] of unit variance."""
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def store_of(folder: Path, streams: dict[str, Tensor], counts: list[int], kind: Tensor | None = None) -> Store:
    """A complete store of these activations, by source, cut into shards of these sizes; `ids` number the rows."""
    n, entries = sum(counts), {name: {"width": x.shape[1], "lm": name, "hookpoint": ""} for name, x in streams.items()}
    meta = {"sources": entries, "contrast": None, "dtype": "float32", "counts": counts, "seq_len": 1}
    store = Store.create(folder, meta | {"tokens_sha256": "of nothing"})
    rows = torch.arange(n)
    tokens = Tokens(rows, torch.zeros_like(rows), rows, torch.full((n,), Kind.PLAIN) if kind is None else kind)
    for shard, part in enumerate(rows.split(counts)):
        store.write(shard, "tokens", tokens[part].tensors())
        for name, acts in streams.items():
            store.write(shard, name, {"acts": acts[part]})
    return store


def whole_shards(root: Path) -> dict[Path, tuple[int, int]]:
    """The shards that stores under a folder list, each whole, and what would tell if one was written again."""
    found = {}
    for meta in root.glob("*/meta.json"):
        entries = Store(meta.parent).meta
        columns = {name: entry["checksums"] for name, entry in entries["sources"].items()}
        for column, checksums in {"tokens": entries["tokens_checksums"], **columns}.items():
            for shard, checksum in enumerate(checksums):
                if checksum is not None:
                    path = meta.parent / f"{shard:05d}.{column}.safetensors"
                    assert sha256(path) == checksum
                    found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found
