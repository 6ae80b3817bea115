"""Crosscoders that an eval trains beside the one it looks at, by the same recipe, and finds again in the run folder."""

import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from crosscoder.data import Store
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Subject
from crosscoder.model import Crosscoder
from crosscoder.sources import Sources

console = Console(stderr=True)


def trained_beside(
    subject: Subject,
    stores: Sequence[Store],
    name: str,
    seed: int,
    sources: Sources | None = None,
    **settings: Any,
) -> Crosscoder:
    """Trained on the first store, its threshold fitted on the second; kept as `beside/<name>-<key>` in the run folder.

    `settings` replace those of the subject's recipe; one that is None stays as it is. The key is of all that shapes the
    result, so that an interrupted eval goes on with what it has. `sources` are those of the store unless others are named.
    Its provenance says in how many seconds it was trained, now or then.
    """
    if subject.recipe is None:
        raise NotApplicable("how this crosscoder was trained is not known, so none can be trained beside it")
    recipe = subject.recipe().but(seed=seed, **{key: value for key, value in settings.items() if value is not None})
    train, validation, *_ = stores
    identity = f"{recipe.key()} {sources} {_content(train)} {_content(validation)}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = (subject.folder or Path(tempfile.mkdtemp(prefix="crosscoder-"))) / "beside" / f"{name}-{key}"
    if (folder / "crosscoder" / "config.json").exists():
        console.print(f"{name}: trained already, {folder}", highlight=False)
        return Crosscoder.from_pretrained(folder)
    console.print(f"{name}: training {recipe.n_latents:,} latents on {recipe.train_tokens:,} tokens", highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    crosscoder, _ = recipe(train, validation, sources or train.sources, folder)
    crosscoder.provenance |= {"beside": str(subject.folder), "name": name, "seconds": time.perf_counter() - start}
    crosscoder.save_pretrained(folder / "crosscoder")
    for checkpoint in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint.unlink()  # three times the size of what it was for
    return crosscoder


def _content(store: Store) -> str:
    """Digest of what a store gives, whatever its activations go through as they are read: its tokens and its first shard."""
    acts = store.acts(0, store.sources.names)
    return store.tokens_sha256 + hashlib.sha256(acts.view(torch.uint8).numpy().tobytes()).hexdigest()
