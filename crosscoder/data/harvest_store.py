"""Open or create the store of a harvest, and link what other stores already hold."""

import hashlib
import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscoder.core.sources import Source, Sources
from crosscoder.data.storage.meta import FORMAT
from crosscoder.data.storage.store import Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm.layout import Packing

if TYPE_CHECKING:
    import crosscoder.lm

log = logging.getLogger(__name__)


def open_store(
    root: Path,
    pair: "crosscoder.lm.Pair",
    sources: Sources,
    token_set: TokenSet,
    shard_tokens: int,
    storage: str,
) -> Store:
    """Open the store of some sources and tokens, or create it with its tokens.

    Shards that other stores under the same root hold are linked.

    Args:
        root: Folder of the stores.
        pair: The models.
        sources: The sources.
        token_set: The tokens.
        shard_tokens: Tokens per shard of a new store.
        storage: How activations are stored: exact or int8.

    Raises:
        UserError: The folder holds another store, or cannot be written.
    """
    packing = pair.choose_packing(sources, token_set.seq_len)
    keys = {}
    for source in sources:
        keys[source.name] = _compute_key(pair, source, token_set, storage, packing)
    identity = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]
    folder = root / identity
    meta = _make_meta(pair, sources, token_set, keys, packing, shard_tokens)
    store = Store.create(folder, meta)
    _require_same(store, sources, token_set)
    if all(store.is_complete(column) for column in ("tokens", *sources.names)):
        return store
    with store.lock:  # this takes no time, so one process does it and the others wait
        store.refresh()
        _write_tokens(store, token_set)
        for other in _find_neighbours(folder):
            _link_sources(store, other, sources, keys)
    return store


def _compute_key(
    pair: "crosscoder.lm.Pair", source: Source, token_set: TokenSet, storage: str, packing: Packing
) -> str:
    """Return the identity of a source's activations, a hash."""
    identity = [
        FORMAT,
        pair.lms[source.lm].fingerprint(),
        source.hookpoint,
        _describe_arithmetic(pair),
        token_set.sha256,
    ]
    # the defaults are left out, so that older stores keep their names
    if storage != "exact":
        identity.append(storage)
    if packing != "positions":
        identity.append(packing)
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _describe_arithmetic(pair: "crosscoder.lm.Pair") -> str:
    """Return what activations depend on besides weights and tokens, for the key.

    Stores in half precision from before version 0.2, when the frequencies of rotary positions were
    rounded, have other keys.
    """
    if pair.dtype.itemsize > 2:
        return str(pair.dtype)
    return f"{pair.dtype}, computed in {pair.compute_dtype}, exact positions"


def _make_meta(
    pair: "crosscoder.lm.Pair",
    sources: Sources,
    token_set: TokenSet,
    keys: dict[str, str],
    packing: Packing,
    shard_tokens: int,
) -> dict[str, Any]:
    entries = {}
    for source in sources:
        entries[source.name] = {
            "width": source.width,
            "lm": source.lm,
            "hookpoint": source.hookpoint,
            "key": keys[source.name],
            "model": pair.lms[source.lm].spec(),
        }
    return {
        "sources": entries,
        "contrast": list(sources.diff_pair) if sources.diff_pair else None,
        "dtype": str(pair.dtype).removeprefix("torch."),
        "seq_len": token_set.seq_len,
        "counts": _count_shards(token_set, shard_tokens),
        "tokens_sha256": token_set.sha256,
        "pair": pair.spec(),
        "packing": packing,
        **token_set.meta,
    }


def _count_shards(token_set: TokenSet, shard_tokens: int) -> list[int]:
    """Return the number of tokens in each shard; shards are whole sequences."""
    sequences_per_shard = max(1, shard_tokens // token_set.seq_len)
    starts = token_set.starts[::sequences_per_shard].tolist()
    ends = [*starts, len(token_set.tokens)]
    return [end - start for start, end in pairwise(ends) if end > start]


def _require_same(store: Store, sources: Sources, token_set: TokenSet) -> None:
    """Refuse a store whose content is not what the name of its folder stands for."""
    n = len(token_set.tokens)
    if len(store) != n or store.sources.widths != sources.widths:
        raise UserError(
            f"the store in {store.folder} holds {len(store):,} tokens of "
            f"{store.sources.describe()}, but its name stands for {n:,} of {sources.describe()}; "
            "delete that folder to harvest it again"
        )


def _write_tokens(store: Store, token_set: TokenSet) -> None:
    """Write the shards of the tokens that are missing.

    Their sizes are those of the store, which may have been created with other settings.
    """
    start = 0
    for shard, count in enumerate(store.counts):
        if not store.has(shard, "tokens"):
            store.write(shard, "tokens", token_set.tokens[start : start + count].tensors())
        start += count


def _link_sources(store: Store, other: Store, sources: Sources, keys: dict[str, str]) -> None:
    """Link the sources that another store holds under the same identity in equal shards."""
    if other.counts != store.counts:
        return
    for source in sources:
        for name, entry in other.meta["sources"].items():
            if entry.get("key") == keys[source.name] and entry["width"] == source.width:
                store.link_shards_from(other, name, source.name)


def _find_neighbours(folder: Path) -> Iterator[Store]:
    """Yield the other stores under the same root; skip what is not a store or cannot be read."""
    for neighbour in sorted(folder.parent.iterdir()):
        if neighbour == folder:
            continue
        try:
            yield Store(neighbour)
        except UserError as error:
            log.debug("%s is skipped: %s", neighbour, error)
