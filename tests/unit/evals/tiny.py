"""A crosscoder of the tiny pair, on stores harvested from random tokens, with what evals that train others need."""

from pathlib import Path

import torch
from hydra.utils import instantiate

from crosscoder.activations.topk import TopK
from crosscoder.data import Harvest, Splits
from crosscoder.data.tokens import TokenSet
from crosscoder.evals import Subject
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.types import Kind, Tokens
from tests.configs import composed

SEQ_LEN = 32
SETTINGS = ("n_latents=32", "k=4", "batch_size=64", "train_tokens=640", "logger=none")


def tokens(n_sequences: int, seed: int) -> TokenSet:
    ids = torch.randint(6, 200, (n_sequences, SEQ_LEN), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 2
    position = torch.arange(SEQ_LEN).expand_as(ids)
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    document = torch.arange(n_sequences)[:, None].expand_as(ids)
    return TokenSet(Tokens(*(c.flatten() for c in (ids, position, document, kind))), SEQ_LEN)


def tiny_subject(pair: Pair, folder: Path) -> Subject:
    sources = pair.sources()
    stores = Harvest(folder / "stores")(pair, sources, {"train": tokens(40, 0), "heldout": tokens(12, 1)})
    splits = Splits(stores["train"], stores["train"], stores["heldout"], sources)
    crosscoder = Crosscoder(sources, 32, TopK(4)).fold()
    crosscoder.provenance = splits.provenance()
    recipe = instantiate(composed(*SETTINGS, f"run={folder}").recipe, _convert_="all")
    return Subject(crosscoder, splits.heldout, pair, 0, lambda: recipe, folder)
