"""Controls: pairs beside a trained crosscoder's own in which nothing differs, or only noise, or only what was planted.

A control gives the stores to train on, to fit the threshold on, and to analyse; None where the subject cannot have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.data import Harvest, Store
from crosscoder.data.changed import Change, Changed
from crosscoder.data.nulls import Plant, noise, shuffled
from crosscoder.data.tokens import token_set
from crosscoder.diff.table import LatentTable
from crosscoder.evals.base import Subject
from crosscoder.lm import Pair
from crosscoder.lm.load import LM, resolve
from crosscoder.model import Crosscoder

Stores = tuple[Store, Store, Store]
PARTS = ("train", "validation", "heldout")


@runtime_checkable
class Control(Protocol):
    """See the module's docstring."""

    @property
    def name(self) -> str:
        """A word."""
        ...

    def stores(self, subject: Subject, table: LatentTable) -> Stores | None:
        """Made from the subject's own stores; `table` is the subject's."""
        ...


@dataclass(frozen=True)
class Noise:
    """The base against itself plus noise of the difference's norm and spectrum: every exclusive latent is false."""

    name: str = "noise"

    def stores(self, subject: Subject, table: LatentTable) -> Stores | None:
        return _changed(subject, noise(subject.stores()[0], _contrast(subject)))


@dataclass(frozen=True)
class Shuffled:
    """Chat's tokens in another order: the streams have nothing in common, and most latents should be exclusive."""

    name: str = "shuffled"

    def stores(self, subject: Subject, table: LatentTable) -> Stores | None:
        return _changed(subject, shuffled(_contrast(subject)))


@dataclass(frozen=True)
class Reseed:
    """Two finetunings by one recipe with different seeds: what differs is their run, and every exclusive latent is false.

    Args:
        siblings: an adapter → another one that was trained alike but for the seed.
    """

    siblings: Mapping[str, str] = field(default_factory=dict)
    name: str = "reseed"

    def stores(self, subject: Subject, table: LatentTable) -> Stores | None:
        first, second = _contrast(subject)
        source = subject.crosscoder.sources[first]
        lm = subject.pair.lms.get(source.lm) if subject.pair and not subject.pair.aligned else None
        if not isinstance(lm, LM) or not lm.adapter or (sibling := self._sibling(lm.adapter)) is None:
            return None
        assert subject.pair
        pair = Pair(
            {second: lm.spec(), first: {**lm.spec(), "adapter": sibling}},
            subject.pair.layer,
            (first, second),
            str(subject.pair.dtype).removeprefix("torch."),
            device=str(subject.pair.device),
        )
        own = subject.stores()
        harvest = Harvest(own[0].folder.parent, shard_tokens=own[0].counts[0])
        harvested = harvest(
            pair,
            pair.sources([source.hookpoint]),
            {part: token_set(store) for part, store in zip(PARTS, own, strict=True)},
        )
        return harvested["train"], harvested["validation"], harvested["heldout"]

    def _sibling(self, adapter: str) -> str | None:
        pairs = {resolve(one): other for one, other in self.siblings.items()}
        return pairs.get(resolve(adapter))


@dataclass(frozen=True)
class Planted:
    """Known features added to chat's real activations, with the rates and sizes (f ‖d_chat‖) of the subject's own latents.

    Left out are dense latents, and those larger than the median activation, which in Gemma belong to a few tokens of huge norm.

    Args:
        n: how many.
        dense: density from which a latent counts as dense.
        found: cosine of a latent's decoder with a planted direction from which the latent counts as having found it.
    """

    n: int = 64
    dense: float = 0.1
    found: float = 0.7
    name: str = "planted"

    def stores(self, subject: Subject, table: LatentTable) -> Stores | None:
        return _changed(subject, self.plant(subject, table))

    def plant(self, subject: Subject, table: LatentTable) -> Plant:
        """What is added."""
        first, _ = _contrast(subject)
        crosscoder = subject.crosscoder
        mean = crosscoder.sources.split(crosscoder.mean.cpu())[first]
        ordinary = subject.heldout.tokens(0).ordinary
        largest = (subject.heldout.acts(0, [first])[ordinary].float() - mean).norm(dim=-1).median()
        norms = crosscoder.decoder(first).detach().norm(dim=-1).double().cpu().numpy()
        latents = table.with_columns({"size": norms * table["mean_active"]})
        latents = latents.query(f"n_active >= 10 and density <= {self.dense} and size <= {float(largest)}")
        rates, sizes, spreads = (torch.from_numpy(latents[name]) for name in ("density", "size", "spread"))
        return Plant.like(first, crosscoder.sources[first].width, rates, sizes, spreads, self.n, subject.seed)

    def finders(self, plant: Plant, crosscoder: Crosscoder) -> Tensor:
        """For each planted feature the latent that found it, or −1, [n]."""
        decoder = normalize(crosscoder.decoder(plant.source).detach().cpu(), dim=-1)
        cosine, latent = (plant.directions @ decoder.T).max(dim=1)
        return torch.where(cosine > self.found, latent, -1)


def _contrast(subject: Subject) -> tuple[str, str]:
    contrast = subject.crosscoder.sources.contrast
    assert contrast
    return contrast


def _changed(subject: Subject, change: Change) -> Stores:
    train, validation, heldout = (Changed(store, change, subject.seed) for store in subject.stores())
    return train, validation, heldout
