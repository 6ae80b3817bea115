"""Tokens to activations: one forward pass per model reads every hookpoint into a store.

A source is identified by its content: weights, adapter, hookpoint, dtype, tokens. If another store
under the same root already holds a source with this identity, its files are linked instead of
computed again. Shards that a killed run has completed are kept. Several processes, whether they
were started together or not, divide the work: each locks one shard at a time, and the lock of a
process that died is free again.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from crosscoder import distributed
from crosscoder.core.sources import Source, Sources
from crosscoder.data.batch_trial import list_candidates
from crosscoder.data.harvest_store import open_store
from crosscoder.data.passes import Passes
from crosscoder.data.storage.quantization import make_shard
from crosscoder.data.storage.store import Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.io.files import make_folders
from crosscoder.runtime.memory import retain_freed_memory
from crosscoder.runtime.progress import progress
from crosscoder.values import require_choice, require_types, require_whole

if TYPE_CHECKING:
    import crosscoder.lm

log = logging.getLogger(__name__)
NORM_BYTES = torch.float32.itemsize  # a norm is stored with every activation
WAIT_SECONDS = 1.0  # between two looks at shards that other processes harvest


@dataclass(frozen=True)
class Harvest:
    """Settings of the harvest of activations.

    Args:
        root: Folder of the stores, one subfolder each.
        batch_tokens: Tokens per forward pass, or "auto" for the fastest of a few
            (crosscoder/data/batch_trial.py). Activations do not depend on it.
        shard_tokens: Tokens per shard: at most these are lost if a process is killed.
        storage: "exact", or "int8" for half the disk space (see
            crosscoder/data/storage/quantization.py for the loss).
        compile: Whether the models' layers are compiled (crosscoder/lm/compiling.py), or "auto" to
            do so on a CPU if it saves more time than it takes. Activations differ by rounding.
    """

    root: str | Path
    batch_tokens: int | Literal["auto"] = "auto"
    shard_tokens: int = 16384
    storage: Literal["exact", "int8"] = "exact"
    compile: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        require_choice("harvest.storage", self.storage, ("exact", "int8"))
        if self.batch_tokens != "auto":
            require_whole("harvest.batch_tokens (or auto)", self.batch_tokens)
        require_choice("harvest.compile", self.compile, ("auto", True, False))
        require_types("harvest", self)

    def get_batch_tokens(self, device_type: str) -> int:
        """Return tokens per forward pass without a trial, for passes that are not alone."""
        if self.batch_tokens == "auto":
            return list_candidates(device_type)[0]
        return self.batch_tokens

    def run(
        self, pair: "crosscoder.lm.Pair", sources: Sources, token_sets: Mapping[str, TokenSet]
    ) -> dict[str, Store]:
        """Harvest a store of these sources for each token set; complete stores are reused.

        Args:
            pair: The models.
            sources: The sources.
            token_sets: Token sets by split, e.g. `{"train": …, "heldout": …}`.

        Returns:
            The stores by split.
        """
        root = Path(self.root).expanduser()
        stores = {}
        for split, token_set in token_sets.items():
            stores[split] = open_store(
                root, pair, sources, token_set, self.shard_tokens, self.storage
            )
        self._require_space(stores.values())
        if _count_missing_tokens(stores.values()):
            self._harvest_all(pair, stores, token_sets)
            pair.release()
        for store in stores.values():
            for source in store.sources:
                store.median_norm(source.name)  # measured on the norms in the shards, once
        return stores

    def _harvest_all(
        self,
        pair: "crosscoder.lm.Pair",
        stores: Mapping[str, Store],
        token_sets: Mapping[str, TokenSet],
    ) -> None:
        """Harvest until no shard is missing, and wait for the shards of other processes."""
        total = _count_missing_tokens(stores.values())
        n_missing = total
        n_tokens = sum(len(token_set.tokens) for token_set in token_sets.values())
        passes = Passes(pair, self.batch_tokens, self.compile, n_tokens)
        with retain_freed_memory(), progress() as bar, passes:
            bar.disable = distributed.rank() > 0
            task = bar.add_task("harvest", total=total, note="")
            while n_missing:
                has_worked = False
                for lm, split, store in _list_jobs(stores):
                    bar.update(task, description=f"harvest {lm}, {split}")
                    advance = partial(bar.advance, task)
                    for shard in _order_shards(store):
                        has_worked |= self._harvest_shard(
                            passes, lm, store, shard, token_sets[split], advance
                        )
                if not has_worked:
                    bar.update(task, description="harvest: waiting for other processes")
                    time.sleep(WAIT_SECONDS)
                for store in stores.values():
                    store.refresh()
                n_missing = _count_missing_tokens(stores.values())
                bar.update(task, completed=total - n_missing)

    def _harvest_shard(
        self,
        passes: Passes,
        lm: str,
        store: Store,
        shard: int,
        token_set: TokenSet,
        advance: Callable[[int], None],
    ) -> bool:
        """Harvest what a shard lacks of one model's sources.

        Returns:
            Whether there was something to do that no other process is doing.
        """
        if not store.find_missing(shard, lm):
            return False
        with store.lock_shard(shard, lm) as is_locked:
            missing = store.find_missing(shard, lm) if is_locked else []
            if not missing:
                return False
            collected: dict[str, list[Tensor]] = {source.name: [] for source in missing}
            packing = store.meta.get("packing", "positions")
            first, last = _find_sequences(store, shard, token_set)
            for acts in passes.read(lm, missing, token_set, packing, first, last):
                for name, rows in acts.items():
                    collected[name].append(rows)
                advance(len(acts[missing[0].name]))
            for name, pieces in collected.items():
                store.write(shard, name, make_shard(torch.cat(pieces), self.storage))
        return True

    def _require_space(self, stores: Iterable[Store]) -> None:
        needed = sum(self._count_missing_bytes(store) for store in stores)
        root = Path(self.root).expanduser()
        make_folders(root)
        free = shutil.disk_usage(root).free
        if free < needed:
            raise UserError(
                f"harvest needs {needed / 1e9:.2f} GB in {root}, where {free / 1e9:.2f} GB are free"
            )

    def _count_missing_bytes(self, store: Store) -> int:
        """Return the size of the shards that a store lacks."""
        itemsize = 1 if self.storage == "int8" else store.dtype.itemsize
        n_bytes = 0
        for source in store.sources:
            bytes_per_token = source.width * itemsize + NORM_BYTES
            for shard in store:
                if not store.has(shard, source.name):
                    n_bytes += store.counts[shard] * bytes_per_token
        return n_bytes


def _count_missing_tokens(stores: Iterable[Store]) -> int:
    """Return the number of tokens on which models are still to be run, for all models together."""
    n = 0
    for store in stores:
        for lm in _list_lms(store.sources):
            for shard in store:
                if store.find_missing(shard, lm):
                    n += store.counts[shard]
    return n


def _list_lms(sources: Iterable[Source]) -> list[str]:
    """Return the names of the models in order."""
    return list(dict.fromkeys(source.lm for source in sources))


def _list_jobs(stores: Mapping[str, Store]) -> list[tuple[str, str, Store]]:
    """Return (model, split, store), model after model, so that each is loaded once."""
    sources: list[Source] = []
    for store in stores.values():
        sources += store.sources
    jobs = []
    for lm in _list_lms(sources):
        for split, store in stores.items():
            jobs.append((lm, split, store))
    return jobs


def _find_sequences(store: Store, shard: int, token_set: TokenSet) -> tuple[int, int]:
    """Return the number of a shard's first sequence, and of the one after its last."""
    ends = torch.tensor([sum(store.counts[:shard]), sum(store.counts[: shard + 1])])
    first, last = torch.searchsorted(token_set.starts, ends).tolist()
    return first, last


def _order_shards(store: Store) -> list[int]:
    """Return all shards: first those of this process, then the others, in case they are late."""
    own = list(store)[distributed.rank() :: distributed.size()]
    return own + [shard for shard in store if shard not in set(own)]
