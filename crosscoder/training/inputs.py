"""Describe the data that a run reads, so that two runs can be compared: tokens, shards, sources."""

import hashlib
import json
from typing import Any

from crosscoder.data import Splits, Store, Stream
from crosscoder.data.corpora.text import Corpus, Files, HubDataset
from crosscoder.io.checksum import compute_sha256


def describe_inputs(splits: Splits) -> dict[str, str]:
    """Return a description of each input by flat key.

    The keys are `<split>.tokens_sha256`, `<split>.shards` and `<split>.<source>`, and for a stream
    `stream.text.<i>` and `stream.weights.<model>`.
    """
    inputs: dict[str, str] = {}
    stores = {"train": splits.train, "validation": splits.validation, "heldout": splits.heldout}
    for split, store in stores.items():
        for key, value in _describe_store(store).items():
            inputs[f"{split}.{key}"] = value
    if splits.stream is not None:
        for key, value in _describe_stream(splits.stream).items():
            inputs[f"stream.{key}"] = value
    return inputs


def _describe_store(store: Store) -> dict[str, str]:
    inputs = {"tokens_sha256": store.tokens_sha256, "shards": _hash_json(store.counts)}
    for name, entry in store.meta["sources"].items():
        # The key of a source that was harvested here covers weights, hookpoint, dtype and tokens.
        # Another source has no key; its content is hashed.
        inputs[name] = str(entry.get("key") or _hash_json(entry["checksums"]))
    return inputs


def _describe_stream(stream: Stream) -> dict[str, str]:
    """Describe a stream by its text and its models, since only a sample of it is on disk."""
    inputs = {f"text.{i}": _hash_text(corpus) for i, corpus in enumerate(stream.corpora)}
    for name in dict.fromkeys(source.lm for source in stream.read):
        inputs[f"weights.{name}"] = stream.pair.lms[name].fingerprint()
    return inputs


def _hash_text(corpus: Corpus) -> str:
    """Return a hash of a corpus's text. A corpus on the hub is hashed by its name and settings."""
    if isinstance(corpus, HubDataset):
        return _hash_json(repr(corpus))
    if isinstance(corpus, Files):  # large files are hashed without parsing them
        return _hash_json([compute_sha256(path) for path in corpus.files()])
    digest = hashlib.sha256()
    for document in corpus.documents("train"):
        digest.update(json.dumps(document).encode())
    return digest.hexdigest()


def _hash_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
