"""Null controls: pairs in which nothing differs, only noise, or only planted features.

A control makes three stores from those of the crosscoder: to train on, to fit the threshold on, and
to analyse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from crosscoder.analysis.calibration import LEANING, read_leaning
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.data import Harvest, Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.synthetic.nulls import make_noise, make_shuffle
from crosscoder.data.synthetic.plants import Plants, Profiles, Readers
from crosscoder.data.synthetic.transforms import Transform, TransformedStore
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext
from crosscoder.lm import LM, Pair
from crosscoder.lm.loading.folders import resolve_folder
from crosscoder.values import require_fraction, require_number, require_types, require_whole

SPLITS = ("train", "validation", "heldout")


@dataclass(frozen=True)
class ControlStores:
    """Activations of a control, and what was planted into them.

    Args:
        train: Store to train on.
        validation: Store to fit the threshold on.
        heldout: Store to analyse.
        plants: Features that were planted; None if there are none.
    """

    train: Store
    validation: Store
    heldout: Store
    plants: Plants | None = None


@runtime_checkable
class Control(Protocol):
    """A pair of sources about whose difference something is known."""

    @property
    def name(self) -> str:
        """Name of the control, one word."""
        ...

    @property
    def train_fraction(self) -> float:
        """Fraction of the training tokens that the control needs."""
        ...

    def applies_to(self, context: EvalContext) -> bool:
        """Return whether the crosscoder can have this control."""
        ...

    def make_stores(self, context: EvalContext, table: LatentTable) -> ControlStores | None:
        """Make the stores of the control; None if the crosscoder cannot have it.

        Args:
            context: Context of the eval, with the crosscoder's own stores.
            table: LatentTable of the crosscoder.
        """
        ...


@dataclass(frozen=True)
class Noise:
    """The base model against itself plus noise: every exclusive latent is false.

    The noise has the norm and the spectrum of the difference.
    """

    name: str = "noise"
    train_fraction: ClassVar[float] = 1.0

    def applies_to(self, context: EvalContext) -> bool:
        """Return True."""
        return True

    def make_stores(self, context: EvalContext, table: LatentTable) -> ControlStores | None:
        """Make the stores of the control."""
        train, _, _ = context.open_stores()
        return _transform_stores(context, make_noise(train, _require_diff_pair(context)))


@dataclass(frozen=True)
class Shuffled:
    """The chat model's tokens in another order: most latents should be exclusive.

    The two streams have nothing in common. A third of the training is enough to see it.
    """

    name: str = "shuffled"
    train_fraction: ClassVar[float] = 1 / 3

    def applies_to(self, context: EvalContext) -> bool:
        """Return True."""
        return True

    def make_stores(self, context: EvalContext, table: LatentTable) -> ControlStores | None:
        """Make the stores of the control."""
        return _transform_stores(context, make_shuffle(_require_diff_pair(context)))


@dataclass(frozen=True)
class Reseed:
    """Two finetunings by one recipe with different seeds: every exclusive latent is false.

    Only the run of the finetuning differs.

    Args:
        siblings: For each adapter, another one that was trained with a different seed only.
    """

    siblings: Mapping[str, str] = field(default_factory=dict)
    name: str = "reseed"
    train_fraction: ClassVar[float] = 1.0

    def applies_to(self, context: EvalContext) -> bool:
        """Return whether the chat model's adapter has a known sibling."""
        return self._make_pair(context) is not None

    def make_stores(self, context: EvalContext, table: LatentTable) -> ControlStores | None:
        """Harvest the two finetunings; None without a known sibling of the chat model's adapter."""
        siblings = self._make_pair(context)
        if siblings is None:
            return None
        first, _ = _require_diff_pair(context)
        source = context.crosscoder.sources[first]
        own = context.open_stores()
        harvest = Harvest(own[0].folder.parent, shard_tokens=own[0].counts[0])
        tokens = {
            split: TokenSet.from_store(store) for split, store in zip(SPLITS, own, strict=True)
        }
        harvested = harvest.run(siblings, siblings.sources([source.hookpoint]), tokens)
        return ControlStores(harvested["train"], harvested["validation"], harvested["heldout"])

    def _make_pair(self, context: EvalContext) -> Pair | None:
        """Return the two finetunings as a pair; None without a known sibling."""
        first, second = _require_diff_pair(context)
        source = context.crosscoder.sources[first]
        pair = context.pair
        if pair is None or pair.is_aligned:
            return None
        lm = pair.lms.get(source.lm)
        if not isinstance(lm, LM) or not lm.adapter or not lm.may_load():
            return None
        sibling = self._find_sibling(lm.adapter)
        if sibling is None:
            return None
        return Pair(
            {second: lm.spec(), first: {**lm.spec(), "adapter": sibling}},
            pair.layer,
            (first, second),
            str(pair.dtype).removeprefix("torch."),
            device=str(pair.device),
        )

    def _find_sibling(self, adapter: str) -> str | None:
        by_folder = {resolve_folder(one): other for one, other in self.siblings.items()}
        return by_folder.get(resolve_folder(adapter))


@dataclass(frozen=True)
class Planted:
    """Features of known kinds planted into the pair's real activations (plants.py).

    They have the rates and sizes (f ‖d‖) of those of the crosscoder's own latents that lean to a
    source, since these are judged; if they are fewer than `n`, of the `n` latents that lean most.
    Two kinds of latents serve as no model: dense ones, and those larger than the median activation,
    which in Gemma belong to a few tokens of huge norm.

    Args:
        n: Number of latents that serve as models. Each gives two exclusive features, one in either
            source, and 13 decoys. None: one of 32 latents, but from 8 to 32.
        dense: Density from which a latent counts as dense.
        found: Cosine from which a latent counts as having found a feature, between its larger
            decoder and the feature's direction there.
    """

    n: int | None = None
    dense: float = 0.1
    found: float = 0.7
    name: str = "planted"
    train_fraction: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        require_types("planted", self)
        if self.n is not None:
            require_whole("planted.n", self.n, least=2)
        require_fraction("planted.dense", self.dense, above=0)
        require_number("planted.found", self.found, least=-1, most=1)

    def applies_to(self, context: EvalContext) -> bool:
        """Return True."""
        return True

    def make_stores(self, context: EvalContext, table: LatentTable) -> ControlStores | None:
        """Make the stores of the control."""
        plants = self.plant(context, table)
        return replace(_transform_stores(context, plants), plants=plants)

    def plant(self, context: EvalContext, table: LatentTable) -> Plants:
        """Return the features that are added.

        Raises:
            NotApplicable: No latent can serve as a model of the features.
        """
        diff_pair = _require_diff_pair(context)
        models = self._select_models(context, table)
        profiles = Profiles(
            torch.from_numpy(models["density"]),
            torch.from_numpy(models["size"]),
            torch.from_numpy(models["spread"]),
            torch.from_numpy(models["latent"]),
        ).draw(self._choose_n(context.crosscoder), context.seed)
        width = context.crosscoder.sources[diff_pair[0]].width
        readers = _make_readers(context, profiles)
        return Plants.make(diff_pair, width, profiles, readers, context.seed)

    def _choose_n(self, crosscoder: Crosscoder) -> int:
        return self.n or min(max(crosscoder.n_latents // 32, 8), 32)

    def _select_models(self, context: EvalContext, table: LatentTable) -> LatentTable:
        """Return the rows of the latents that serve as models, with their size."""
        diff_pair = _require_diff_pair(context)
        norms = [context.crosscoder.decoder(name).detach().norm(dim=-1) for name in diff_pair]
        larger = torch.maximum(*norms).double().cpu().numpy()
        latents = table.with_columns({"size": larger * table["mean_active"]})
        latents = latents.query("n_active >= 10")
        median = max(_median_norm(context, name) for name in diff_pair)
        is_sparse = latents["density"] <= self.dense
        is_small = latents["size"] <= median
        is_like = is_sparse & is_small & (latents["size"] > 0)
        if not is_like.any():
            raise NotApplicable(
                "planted features copy latents that are active on at least 10 held-out tokens, "
                f"have a density of at most {self.dense:g} and are not larger than the median "
                "activation; this crosscoder has none"
            )
        models = LatentTable(latents.frame.loc[is_like], latents.meta)
        models = models.with_columns({"ratio": read_leaning(models)["ratio"]})
        n_leaning = int((models["ratio"] < LEANING).sum())
        n_models = max(n_leaning, self._choose_n(context.crosscoder))
        return models.top("ratio", n_models, ascending=True)


def _make_readers(context: EvalContext, profiles: Profiles) -> Readers:
    """Return where the latents of the profiles are active, from the first held-out shard."""
    crosscoder = context.crosscoder
    names = crosscoder.sources.names
    W_enc = crosscoder.W_enc.detach().cpu()[profiles.latents]
    b_enc = crosscoder.b_enc.detach().cpu()[profiles.latents]
    exclude = read_figure_exclude(crosscoder.provenance)
    eligible = context.heldout.find_eligible(0, names, exclude)
    pre_acts = context.heldout.acts(0, names)[eligible].float() @ W_enc.T + b_enc
    cuts = []
    for column, rate in zip(pre_acts.T, profiles.rates.tolist(), strict=True):
        cuts.append(np.quantile(column.numpy(), 1 - rate))
    return Readers(names, W_enc, b_enc, torch.tensor(np.array(cuts), dtype=torch.float32))


def _median_norm(context: EvalContext, name: str) -> float:
    """Return the median norm of a source's centred activations, in the first held-out shard."""
    crosscoder = context.crosscoder
    mean = crosscoder.sources.split(crosscoder.mean.cpu())[name]
    exclude = read_figure_exclude(crosscoder.provenance)
    eligible = context.heldout.find_eligible(0, crosscoder.sources.names, exclude)
    acts = context.heldout.acts(0, [name])[eligible].float()
    return float((acts - mean).norm(dim=-1).median())


def _require_diff_pair(context: EvalContext) -> tuple[str, str]:
    diff_pair = context.crosscoder.sources.diff_pair
    assert diff_pair
    return diff_pair


def _transform_stores(context: EvalContext, change: Transform) -> ControlStores:
    """Return the crosscoder's own stores with a change that is made as they are read."""
    exclude = read_figure_exclude(context.crosscoder.provenance)
    train, validation, heldout = context.open_stores()
    return ControlStores(
        TransformedStore(train, change, context.seed, exclude),
        TransformedStore(validation, change, context.seed, exclude),
        TransformedStore(heldout, change, context.seed, exclude),
    )
