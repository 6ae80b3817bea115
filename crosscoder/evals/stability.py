"""Match the latents of crosscoders of different seeds one to one, by class.

A seed decides the initial directions of the latents and the order of the tokens. Both vary: a
latent that is found again only because it began in the same place would look stable.

    probability of being found again   fraction of the other crosscoders in which the partner of a
                                       latent has a cosine above `found`

Latents are matched so that the sum of the cosines of their decoders (all sources side by side, in
training units) is largest: the Hungarian method. Seeds of SAEs are known to share a minority of
their latents only. Those that are not found again may still span the same subspace, in another
basis (Gerasimov et al. 2026, "Unstable Features, Reproducible Subspaces"). Therefore the principal
angles are measured between what the unmatched latents of a class span here and there
(analysis/matching/subspaces.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import torch

from crosscoder.errors import UserError
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.kept import is_kept
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.pairing import COUNTS, Pairing, Side
from crosscoder.values import require_fraction, require_number, require_types, require_whole


@dataclass(frozen=True)
class StabilityEval:
    """Decoder cosines between this crosscoder and others of another seed.

    Scalars: `cosine/<class>`, the mean over a class's live latents and over seeds;
    `found_again/<class>`, the mean probability of being found again; and for latents that are not
    found again `unmatched_overlap/<class>`, the mean cos² of the principal angles between what they
    span here and there. Classes are those of the verdict, or `all` without two compared sources.
    Columns for every live latent: `found_again` and `matched_cosine`.

    Args:
        seeds: Number of crosscoders of another seed that are trained. With one, the probability of
            a latent is 0 or 1.
        found: Cosine above which a latent counts as found again.
        energy: Fraction of the unmatched latents' energy that their subspace holds.
        train_tokens: Tokens that each is trained on; None: as many as the crosscoder.
    """

    seeds: int = 2
    found: float = 0.7
    energy: float = 0.5
    train_tokens: int | None = None

    def __post_init__(self) -> None:
        require_whole("eval.stability.seeds", self.seeds)
        require_number("eval.stability.found", self.found, least=-1, most=1)
        require_fraction("eval.stability.energy", self.energy, above=0)
        if self.train_tokens is not None:
            require_whole("eval.stability.train_tokens", self.train_tokens)
        require_types("eval.stability", self)

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        own = Side(context.crosscoder, context.latent_table)
        if own.table["dead"].all():
            raise UserError(
                f"no latent is active on the tokens of {context.heldout.folder}: "
                "there is nothing to find again"
            )
        seeds = self._list_seeds(context)
        pairings = [self._pair(context, own, seed) for seed in seeds]
        tables = {
            "classes": self._compare_classes(own, pairings, seeds),
            "unmatched": self._compare_subspaces(own, pairings, context.seed),
            TABLE: self._measure_latents(own, pairings),
        }
        meta = {**own.table.meta, "seeds": seeds, "varied": _list_varied(context, seeds)}
        return Result("stability", _list_scalars(tables), tables, meta)

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> list[int]:
        """Return the training tokens of each seed that is not kept from an earlier evaluation."""
        n_tokens = self.train_tokens or own_tokens
        tokens = []
        for seed in self._list_seeds(context):
            if not is_kept(context, f"seed{seed}", seed, train_tokens=self.train_tokens):
                tokens.append(n_tokens)
        return tokens

    def _list_seeds(self, context: EvalContext) -> list[int]:
        """List seeds other than that of the crosscoder."""
        own = context.load_recipe().seed if context.load_recipe else None
        others = (seed for seed in count(context.seed + 1) if seed != own)
        return list(islice(others, self.seeds))

    def _pair(self, context: EvalContext, own: Side, seed: int) -> Pairing:
        """Train a crosscoder of another seed, and match it with ours."""
        other = train_auxiliary(
            context,
            context.open_stores(),
            f"seed{seed}",
            seed,
            context.crosscoder.sources,
            train_tokens=self.train_tokens,
        )
        table = context.analysis.make_table(other, context.heldout)
        return Pairing.match(own, Side(other, table), self.found)

    def _compare_classes(
        self, own: Side, pairings: Sequence[Pairing], seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return for each class the mean cosine and the mean probability of being found again."""
        rows = []
        for name, members in own.select_classes().items():
            cosines = np.stack([pairing.cosines[members] for pairing in pairings])
            row = {
                "class": name,
                "latents": cosines.shape[1],
                "cosine": float(cosines.mean()),
                "found again": float((cosines > self.found).mean()),
            }
            for seed, of_seed in zip(seeds, cosines, strict=True):
                row[f"seed {seed}"] = float(of_seed.mean())
            rows.append(row)
        return rows

    def _compare_subspaces(
        self, own: Side, pairings: Sequence[Pairing], seed: int
    ) -> list[dict[str, Any]]:
        """Return the overlap of what unmatched latents span, by class, as means over seeds.

        A class without unmatched latents, here or there, has no row.
        """
        generator = np.random.default_rng(seed)
        rows = []
        for name in own.select_classes():
            of_seeds = []
            for pairing in pairings:
                compared = pairing.compare_subspaces(name, self.energy, generator)
                if compared is not None:
                    of_seeds.append(compared)
            if of_seeds:
                means = {key: _average(of_seeds, key) for key in of_seeds[0]}
                for key in COUNTS:
                    means[key] = round(means[key])
                rows.append({"class": name, **means})
        return rows

    def _measure_latents(self, own: Side, pairings: Sequence[Pairing]) -> list[dict[str, Any]]:
        """Return the columns of the LatentTable for the live latents."""
        cosines = np.stack([pairing.cosines for pairing in pairings])
        probability = (cosines > self.found).mean(0)
        rows = []
        for latent in np.flatnonzero(~own.table["dead"]):
            row = {
                "latent": int(latent),
                "found_again": float(probability[latent]),
                "matched_cosine": float(cosines[:, latent].mean()),
            }
            rows.append(row)
        return rows


def _average(rows: Sequence[dict[str, float]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _list_scalars(tables: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    scalars = {}
    columns = (
        ("cosine", "classes", "cosine"),
        ("found_again", "classes", "found again"),
        ("unmatched_overlap", "unmatched", "cos²"),
        ("unmatched_overlap_random", "unmatched", "cos² of random subspaces"),
    )
    for metric, table, column in columns:
        for row in tables[table]:
            scalars[f"{metric}/{row['class'].replace('-', '_')}"] = row[column]
    return scalars


def _list_varied(context: EvalContext, seeds: Sequence[int]) -> list[str]:
    """Name what differs between the trainings: the order of the tokens, and the initial directions.

    An initialiser may ignore the seed.
    """
    assert context.load_recipe is not None
    recipe = context.load_recipe()
    sources = context.crosscoder.sources
    decoders = []
    for seed in (recipe.seed, *seeds):
        generator = torch.Generator().manual_seed(seed)
        decoders.append(recipe.init(sources, recipe.n_latents, generator)[1])
    is_same = any(torch.equal(decoders[0], other) for other in decoders[1:])
    varied = ["order of the tokens"]
    return varied if is_same else ["initial directions", *varied]
