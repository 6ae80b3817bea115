"""Train other crosscoders for an eval, by the recipe of the crosscoder that is evaluated.

They are kept in its run folder and found again there.
"""

import hashlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.data import Store
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.kept import note_request
from crosscoder.io.files import make_folders
from crosscoder.io.links import require_all_inside
from crosscoder.io.run_dir import Run
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.words import print_words

console = TextConsole(stderr=True)


def train_auxiliary(
    context: EvalContext,
    stores: Sequence[Store],
    name: str,
    seed: int,
    sources: Sources | None = None,
    origin: object = "",
    more_l0: float = 0.0,
    **settings: Any,
) -> Crosscoder:
    """Train a crosscoder, or load it if an earlier eval trained the same one.

    It is saved as `beside/<name>-<key>` in the run folder. The key is a hash of everything that
    shapes the result, so that an interrupted eval continues with what it has.

    Args:
        context: Context of the eval, with the recipe and the run folder.
        stores: Stores to train on and to fit the threshold on; further ones are not used.
        name: Name of the crosscoder in the run folder.
        seed: Random seed of the training.
        sources: Sources that it reads; None for all sources of the store.
        origin: What the stores are made from, besides the data of the crosscoder; see kept.py.
        more_l0: Active latents per token in addition to those of the recipe, for features that the
            stores have in addition.
        settings: Settings that replace those of the recipe. A value of None changes nothing.

    Returns:
        The folded crosscoder, on the device of the context's; `provenance["seconds"]` is the time
        that its training took.

    Raises:
        NotApplicable: The recipe of the crosscoder is unknown.
    """
    changes = {key: value for key, value in settings.items() if value is not None}
    recipe = context.require_recipe().replace(seed=seed, **changes).raise_l0(more_l0)
    train, validation, *_ = stores
    identity = f"{recipe.key()} {sources} {_hash_content(train)} {_hash_content(validation)}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    device = context.crosscoder.W_enc.device
    run = Run(context.folder or tempfile.mkdtemp(prefix="crosscoder-"))
    folder = run.path("beside", f"{name}-{key}")
    require_all_inside(folder)  # training writes there
    if (folder / "crosscoder" / "config.json").exists():
        note_request(context, folder, name, seed, origin, settings)
        print_words(console, f"{name}: loading the crosscoder that was trained before, {folder}")
        return Crosscoder.from_pretrained(folder, type(recipe.activation).__module__).to(device)
    size = f"{recipe.n_latents:,} latents on {recipe.train_tokens:,} tokens"
    print_words(console, f"{name}: training {size}")
    make_folders(folder)
    start = time.perf_counter()
    crosscoder, _ = recipe.train(train, validation, sources or train.sources, folder)
    crosscoder.provenance |= {
        "beside": str(context.folder),
        "name": name,
        "seconds": time.perf_counter() - start,
    }
    crosscoder.save_pretrained(folder / "crosscoder")
    for checkpoint in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint.unlink()  # three times the size of the crosscoder, and no longer needed
    note_request(context, folder, name, seed, origin, settings)
    return crosscoder.to(device)


def _hash_content(store: Store) -> str:
    """Hash the tokens and the first shard that a store returns, transformed or not."""
    acts = store.acts(0, store.sources.names)
    acts_sha256 = hashlib.sha256(acts.view(torch.uint8).numpy().tobytes()).hexdigest()
    return store.tokens_sha256 + acts_sha256
