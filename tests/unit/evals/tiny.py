"""The context of an eval on the tiny pair: a crosscoder, stores of random tokens, a recipe."""

from pathlib import Path

import torch
from hydra.utils import instantiate

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Harvest, Splits
from crosscoder.data.tokens import TokenSet
from crosscoder.evals import EvalContext
from crosscoder.lm import Pair
from tests.helpers.configs import composed
from tests.unit.evals.behaviours import SPEC

SEQ_LEN = 32
ANALYSIS = Analysis(n_resamples=5)
SETTINGS = ("n_latents=32", "k=4", "batch_size=64", "train_tokens=640", "logger=none")


def tokens(n_sequences: int, seed: int) -> TokenSet:
    """Draw sequences of random tokens, one document each."""
    ids = torch.randint(
        6, 200, (n_sequences, SEQ_LEN), generator=torch.Generator().manual_seed(seed)
    )
    ids[:, 0] = 2
    position = torch.arange(SEQ_LEN).expand_as(ids)
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    document = torch.arange(n_sequences)[:, None].expand_as(ids)
    columns = Tokens(ids.flatten(), position.flatten(), document.flatten(), kind.flatten())
    return TokenSet(columns, SEQ_LEN)


def tiny_context(pair: Pair, folder: Path) -> EvalContext:
    """Return the context of an untrained crosscoder, with stores in a folder."""
    sources = pair.sources()
    stores = Harvest(folder / "stores").run(
        pair, sources, {"train": tokens(40, 0), "heldout": tokens(12, 1)}
    )
    splits = Splits(stores["train"], stores["train"], stores["heldout"], sources)
    crosscoder = Crosscoder(sources, 32, TopK(4)).fold()
    crosscoder.provenance = splits.provenance()
    recipe = instantiate(composed(*SETTINGS, f"run={folder}").recipe, _convert_="all")
    return EvalContext(
        crosscoder,
        splits.heldout,
        pair,
        load_recipe=lambda: recipe,
        folder=folder,
        analysis=ANALYSIS,
        behaviour=SPEC,
    )
