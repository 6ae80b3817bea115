"""Tokens to activations: one pass per model reads every hookpoint, and writes the store shard by shard.

A source is identified by its content: weights, adapter, hookpoint, dtype, tokens. What some store under the same root already
holds under that identity is taken over instead of computed again; what a killed run left complete is kept. Several processes,
started together or not, share the work: each claims a shard at a time, and takes over what one that died had claimed.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from crosscoder import processes
from crosscoder.data.compact import compact
from crosscoder.data.store import FORMAT, Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.hooks import read
from crosscoder.memory import kept
from crosscoder.progress import progress
from crosscoder.sources import Source, Sources
from crosscoder.types import Tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Harvest:
    """How activations are harvested.

    Args:
        root: where stores are kept, one folder each.
        batch_tokens: tokens per forward pass.
        shard_tokens: tokens per shard, i.e. what a kill can cost at most.
        storage: "exact", or "int8": half the disk, at the cost that crosscoder/data/compact.py says.
    """

    root: str | Path
    batch_tokens: int = 4096
    shard_tokens: int = 16384
    storage: Literal["exact", "int8"] = "exact"

    def __post_init__(self) -> None:
        if self.storage not in ("exact", "int8"):
            raise UserError(f"harvest.storage is exact or int8, not {self.storage!r}")

    def __call__(self, pair: Pair, sources: Sources, tokens: Mapping[str, TokenSet]) -> dict[str, Store]:
        """A store of these sources for each token set, e.g. `{"train": …, "heldout": …}`; complete ones are reused."""
        stores = {split: self._open(pair, sources, token_set) for split, token_set in tokens.items()}
        self._require_space(stores.values())
        if total := _missing(stores.values()):
            with kept(), progress() as bar:
                bar.disable = processes.rank() > 0
                task = bar.add_task("harvest", total=total, note="")
                while _missing(stores.values()):
                    if not self._work(pair, stores, tokens, bar, task):
                        bar.update(task, description="harvest: waiting for other processes")
                        time.sleep(1.0)
                    for store in stores.values():
                        store.refresh()
                    bar.update(task, completed=total - _missing(stores.values()))
            pair.release()
        for store in stores.values():
            if "scale" not in store.meta:
                store.note(scale=_scales(store))
        return stores

    def _work(
        self, pair: Pair, stores: Mapping[str, Store], tokens: Mapping[str, TokenSet], bar: Progress, task: TaskID
    ) -> bool:
        """Harvest every shard that is missing and that nobody else has claimed; whether there was one."""
        worked = False
        for lm in dict.fromkeys(source.lm for store in stores.values() for source in store.sources):
            for split, store in stores.items():
                bar.update(task, description=f"harvest {lm}, {split}")
                for shard in _from_here_on(store):
                    if not store.missing(shard, lm):
                        continue
                    with store.claimed(shard, lm) as ours:
                        if ours and (wanted := store.missing(shard, lm)):
                            worked = True
                            for done in self._fill(pair, lm, wanted, store, shard, tokens[split]):
                                bar.advance(task, done)
        return worked

    def _open(self, pair: Pair, sources: Sources, token_set: TokenSet) -> Store:
        keys = {source.name: _key(pair, source, token_set, self.storage) for source in sources}
        folder = Path(self.root).expanduser() / hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]
        shards = token_set.starts[:: max(1, self.shard_tokens // token_set.seq_len)].tolist()
        n = len(token_set.tokens)
        entries = {
            s.name: {
                "width": s.width,
                "lm": s.lm,
                "hookpoint": s.hookpoint,
                "key": keys[s.name],
                "model": pair.lms[s.lm].spec(),
            }
            for s in sources
        }
        store = Store.create(
            folder,
            {
                "sources": entries,
                "contrast": sources.contrast and list(sources.contrast),
                "dtype": str(pair.dtype).removeprefix("torch."),
                "seq_len": token_set.seq_len,
                "counts": [b - a for a, b in pairwise([*shards, n]) if b > a],
                "tokens_sha256": token_set.sha256,
                "pair": pair.spec(),
                **token_set.meta,
            },
        )
        if all(store.complete(column) for column in ("tokens", *sources.names)):
            return store
        with store.lock:  # what takes no time is done by one process, the others wait for it
            store.refresh()
            for shard in store:
                if not store.has(shard, "tokens"):
                    start = sum(store.counts[:shard])  # a store begun with other settings keeps its shards
                    store.write(shard, "tokens", token_set.tokens[start : start + store.counts[shard]].tensors())
            for other in _siblings(folder):
                for source in sources:
                    for name, entry in other.meta["sources"].items():
                        if entry.get("key") == keys[source.name] and other.counts == store.counts:
                            store.adopt(source.name, other, name)
        return store

    def _require_space(self, stores: Iterable[Store]) -> None:
        needed = sum(
            store.counts[shard]
            * source.width
            * (1 if self.storage == "int8" else getattr(torch, store.meta["dtype"]).itemsize)
            for store in stores
            for source in store.sources
            for shard in store
            if not store.has(shard, source.name)
        )
        root = Path(self.root).expanduser()
        root.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(root).free) < needed:
            raise UserError(f"harvest needs {needed / 1e9:.2f} GB in {root}, where {free / 1e9:.2f} GB are free")

    def _fill(
        self, pair: Pair, lm: str, wanted: list[Source], store: Store, shard: int, token_set: TokenSet
    ) -> Iterator[int]:
        """Harvest one shard of one model's sources, yielding how many tokens have been done."""
        seq_len, batch = token_set.seq_len, max(1, self.batch_tokens // token_set.seq_len)
        rows = torch.tensor([sum(store.counts[:shard]), sum(store.counts[: shard + 1])])
        first, last = torch.searchsorted(token_set.starts, rows).tolist()
        collected: dict[str, list[Tensor]] = {source.name: [] for source in wanted}
        for start in range(first, last, batch):
            tokens, rows = token_set.of(lm, start, min(start + batch, last))
            for source, acts in streams(pair, lm, wanted, tokens, seq_len).items():
                kept = checked(acts[rows], tokens[rows], source, int(token_set.starts[start]))
                collected[source.name].append(kept)
            yield len(tokens[rows])
        for name, acts in collected.items():
            whole = torch.cat(acts)
            store.write(shard, name, compact(whole) if self.storage == "int8" else {"acts": whole})


def streams(pair: Pair, lm: str, sources: Iterable[Source], tokens: Tokens, seq_len: int) -> Mapping[Source, Tensor]:
    """What one model gives at these sources of its own on whole sequences, each [n, d_source]; all in one pass."""
    hookpoints = {Hookpoint.parse(source.hookpoint): source for source in sources}
    ids, positions = (column.view(-1, seq_len).to(pair.device) for column in (tokens.ids, tokens.position))
    found = read(pair[lm], list(hookpoints), ids, positions)
    return {hookpoints[hookpoint]: acts.flatten(0, 1) for hookpoint, acts in found.items()}


def checked(acts: Tensor, tokens: Tokens, source: Source, first: int = 0) -> Tensor:
    """Activations [n, d_source] of these tokens, on the CPU; refused if one is not finite."""
    if not acts.sum(dtype=torch.float32).isfinite():  # cheaper than to look at each
        row = int((~acts.isfinite().all(dim=-1)).nonzero()[0, 0])
        raise UserError(
            f"{source.lm} gives NaN or infinity at {source.hookpoint}, token {first + row} (id {int(tokens.ids[row])}, "
            f"document {int(tokens.document[row])}); nothing of this shard was kept"
        )
    return acts.cpu()


def _key(pair: Pair, source: Source, token_set: TokenSet, storage: str) -> str:
    """The identity of a source's activations."""
    identity = [FORMAT, pair.lms[source.lm].fingerprint(), source.hookpoint, str(pair.dtype), token_set.sha256]
    identity += [storage] if storage != "exact" else []
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _siblings(folder: Path) -> Iterable[Store]:
    return (Store(meta.parent) for meta in folder.parent.glob("*/meta.json") if meta.parent != folder)


def _missing(stores: Iterable[Store]) -> int:
    """Tokens that models have yet to be run on, counted once per model."""
    lms = [(store, lm) for store in stores for lm in dict.fromkeys(source.lm for source in store.sources)]
    return sum(store.counts[shard] for store, lm in lms for shard in store if store.missing(shard, lm))


def _from_here_on(store: Store) -> list[int]:
    """All shards: those of this process first, then the others', in case these are late."""
    mine = list(store)[processes.rank() :: processes.size()]
    return mine + [shard for shard in store if shard not in set(mine)]


def _scales(store: Store) -> dict[str, float]:
    """Per source the root mean square deviation from the mean, per dimension, of all tokens but BOS and its like."""
    scales = {}
    for source in store.sources:
        n, total, squares = 0, torch.zeros(source.width, dtype=torch.float64), 0.0
        for shard in store:
            acts = store.acts(shard, [source.name])[store.tokens(shard).ordinary]
            for part in acts.split(1024):  # fp32 within a block that fits into the cache, fp64 across blocks
                x = part.float()
                n, total, squares = n + len(x), total + x.sum(0), squares + x.square().sum().item()
        scales[source.name] = ((squares / n - (total / n).square().sum().item()) / source.width) ** 0.5
    return scales
