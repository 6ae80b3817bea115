"""Which latents another seed finds again: decoders of two crosscoders matched one to one, by class.

Latents are matched so that the sum of the cosines of their decoders (all sources side by side, in training units) is largest: the
Hungarian method. Seeds of SAEs are known to share a minority of their latents only.
"""

import time
from dataclasses import dataclass

import numpy as np

from crosscoder.diff.analysis import Analysis
from crosscoder.diff.match import one_to_one
from crosscoder.errors import UserError
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.beside import trained_beside
from crosscoder.model import Crosscoder


@dataclass(frozen=True)
class StabilityEval:
    """Scalars `cosine/<class>`, the mean over a class's live latents and over seeds, and `found_again/<class>`.

    Args:
        analysis: as in the diff eval; classes are its verdict, or `all` without a contrast.
        seeds: how many crosscoders of another seed are trained beside this one.
        found: cosine from which a latent counts as found again.
        train_tokens: trained on for each; None: as many as the crosscoder.
    """

    analysis: Analysis
    seeds: int = 1
    found: float = 0.7
    train_tokens: int | None = None

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        if self.seeds < 1:
            raise UserError(f"stability needs at least one other seed, not seeds={self.seeds}")
        table = self.analysis(subject.crosscoder, subject.heldout)
        stores, sources = subject.stores(), subject.crosscoder.sources
        seeds = range(subject.seed + 1, subject.seed + 1 + self.seeds)
        others = [
            trained_beside(subject, stores, f"seed{seed}", seed, sources, train_tokens=self.train_tokens)
            for seed in seeds
        ]
        cosines = np.stack([matched(subject.crosscoder, other) for other in others])
        alive = ~table["dead"]
        classes = {"all": alive}
        if "verdict" in table.columns:
            classes |= {name: (table["verdict"] == name) & alive for name in sorted(set(table["verdict"]) - {"dead"})}
        rows = [
            {
                "class": name,
                "latents": int(members.sum()),
                "cosine": float(cosines[:, members].mean()),
                "found again": float((cosines[:, members] > self.found).mean()),
                **{f"seed {seed}": float(row[members].mean()) for seed, row in zip(seeds, cosines, strict=True)},
            }
            for name, members in classes.items()
        ]
        scalars = {f"cosine/{row['class'].replace('-', '_')}": row["cosine"] for row in rows}
        scalars |= {f"found_again/{row['class'].replace('-', '_')}": row["found again"] for row in rows}
        return Result("stability", scalars, {"classes": rows}, table.meta | {"seconds": time.perf_counter() - start})


def matched(one: Crosscoder, other: Crosscoder) -> np.ndarray:
    """For each latent of one crosscoder the cosine with its partner in the other, [n_latents]; 0 for those left without."""
    return one_to_one(*(crosscoder.W_dec / crosscoder.scale for crosscoder in (one, other)))[0]
