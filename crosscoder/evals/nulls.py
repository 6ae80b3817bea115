"""Null controls: the same training and analysis where there is nothing to find, and where what there is to find is known.

A count of exclusive latents means as much as it exceeds what the same rule counts where nothing differs (*noise*, *reseed*),
and as the rule finds what was planted; on *shuffled* pairs it must light up. See controls.py. Each control is trained as the
crosscoder itself was, and kept in the run folder.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.data.nulls import Plant
from crosscoder.diff.analysis import Analysis
from crosscoder.diff.norms import PUBLISHED
from crosscoder.diff.presence import EXCLUSIVE
from crosscoder.diff.table import LatentTable
from crosscoder.diff.verdict import count
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.beside import trained_beside
from crosscoder.evals.controls import Control, Planted

Rule = Callable[[LatentTable], np.ndarray]


@dataclass(frozen=True)
class NullsEval:
    """See the module's docstring.

    Scalars are of the verdict: `false_exclusive_rate/<control>` among live latents, `recall_planted` among planted features,
    `exclusive_rate/shuffled`. The table says the same of every published rule.

    Args:
        analysis: as in the diff eval.
        controls: see controls.py.
        train_tokens: trained on for each control; None: as many as the crosscoder.
    """

    analysis: Analysis
    controls: Sequence[Control]
    train_tokens: int | None = None

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        if (contrast := subject.crosscoder.sources.comparable) is None:
            raise NotApplicable("null controls need a contrast of two sources of equal width")
        own = self.analysis(subject.crosscoder, subject.heldout)
        rules = rules_of(contrast)
        rows: dict[str, dict[str, Any]] = {
            name: {"rule": name, "this pair": int(rule(own).sum()), "this pair, rate": rate(rule, own)}
            for name, rule in rules.items()
        }
        seconds = time.perf_counter() - start
        verdicts: list[dict[str, Any]] = [
            {"control": "this pair", **count(own["verdict"], contrast), "seconds": seconds}
        ]
        tables = {"rules": list(rows.values()), "verdicts": verdicts}
        for control in self.controls:
            began = time.perf_counter()
            if (stores := control.stores(subject, own)) is None:
                continue
            crosscoder = trained_beside(subject, stores, control.name, subject.seed, train_tokens=self.train_tokens)
            table = self.analysis(crosscoder, stores[2])
            if isinstance(control, Planted):
                plant = control.plant(subject, own)
                finders = control.finders(plant, crosscoder).numpy()
                called = {name: (finders >= 0) & rule(table)[finders] for name, rule in rules.items()}
                for name, recalled in called.items():
                    rows[name]["recall, planted"] = float(recalled.mean())
                tables["planted"] = by_size(plant, finders >= 0, called["verdict"])
            else:
                for name, rule in rules.items():
                    rows[name][control.name] = rate(rule, table)
            # one that was trained before costs what it cost then
            seconds = max(time.perf_counter() - began, crosscoder.provenance["seconds"])
            verdicts.append({"control": control.name, **count(table["verdict"], contrast), "seconds": seconds})
        meta = own.meta | {"seconds": sum(row["seconds"] for row in verdicts), "seed": subject.seed}
        return Result("nulls", _scalars(rows["verdict"]), tables, meta)


def rules_of(contrast: tuple[str, str]) -> dict[str, Rule]:
    """What calls a latent exclusive to either source: our verdict, its presence in the other, every published rule on norms."""
    specific = [f"{source}-specific" for source in contrast]
    only = [f"{source}-only" for source in contrast]
    published = {
        rule.describe(): lambda table, paper=paper: np.isin(table[f"category/{paper}"], only) & ~table["dead"]
        for paper, rule in PUBLISHED.items()
    }
    own = {
        "verdict": lambda table: np.isin(table["verdict"], specific),
        "presence": lambda table: (
            (np.minimum(*(table[f"presence/{source}"] for source in contrast)) < EXCLUSIVE) & ~table["dead"]
        ),
    }
    return own | published


def rate(rule: Rule, table: LatentTable) -> float:
    """Share of the live latents that a rule calls exclusive."""
    return float(rule(table).sum() / max(1, (~table["dead"]).sum()))


def by_size(plant: Plant, found: np.ndarray, called: np.ndarray, parts: int = 4) -> list[dict[str, Any]]:
    """How many planted features were found, and called exclusive, from the smallest to the largest."""
    rows = []
    for members in plant.sizes.argsort().tensor_split(parts):
        sizes, rates = plant.sizes[members], plant.rates[members]
        rows.append(
            {
                "size": f"{sizes.min():.0f} – {sizes.max():.0f}",
                "features": len(members),
                "median rate": float(rates.median()),
                "found": int(found[members].sum()),
                "called exclusive": int(called[members].sum()),
            }
        )
    return rows


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    names = {
        "noise": "false_exclusive_rate/noise",
        "reseed": "false_exclusive_rate/reseed",
        "shuffled": "exclusive_rate/shuffled",
        "this pair, rate": "exclusive_rate/this_pair",
        "recall, planted": "recall_planted",
    }
    return {name: row[key] for key, name in names.items() if key in row}
