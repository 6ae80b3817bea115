"""Recovery of planted features: how many a crosscoder finds, and which it calls exclusive."""

import math
from dataclasses import dataclass
from typing import Any

from crosscoder.data import Store
from crosscoder.data.synthetic.planted import read_truth
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.feature_recovery import FeatureRecovery

# names of rules and rankings in the scalars
KEYS = {
    "Δ > 0.9": "delta_norm",
    "R > 0.7": "relative_norm",
    "verdict": "verdict",
    "presence": "presence",
    "Δ": "delta_norm",
}


@dataclass(frozen=True)
class RecoveryEval:
    """Compares a crosscoder trained on `data=planted` with the features of that world.

    Scalars: `mcc`, `found`, `found/<class>`, `twins`; `precision/<rule>/<source>`, `recall/…` and
    `f1/…` of the latents that a rule calls exclusive to a source; `ap/<score>/<source>` and
    `auroc/…` of rankings. See support/feature_recovery.py.
    """

    def __call__(self, context: EvalContext) -> Result:
        """Compare, and return the figures of recovery."""
        crosscoder = context.crosscoder
        require_planted(context.heldout)
        missing = {"base", "chat"} - set(crosscoder.sources.names)
        if missing or crosscoder.sources.comparable is None:
            raise NotApplicable(
                "recovery compares what a crosscoder writes into base and chat; this one has "
                f"{crosscoder.sources.describe()}"
            )
        table = context.latent_table
        recovery = FeatureRecovery(crosscoder, read_truth(context.heldout), table)
        rules = recovery.score_rules()
        rankings = recovery.score_rankings()
        scalars = recovery.match_scalars()
        scalars |= _flatten(rules, "rule", ("precision", "recall", "f1"))
        scalars |= _flatten(rankings, "by", ("ap", "auroc"))
        tables = {
            "rules": rules,
            "rankings": rankings,
            "deciles": recovery.score_deciles(),
            "confusion": recovery.count_confusion(),
        }
        meta = dict(table.meta)
        undefined = [key for key, value in scalars.items() if math.isnan(value)]
        if undefined:
            reason = "no exclusive feature is found, so that there is nothing to rank"
            meta["left_out"] = dict.fromkeys(undefined, reason)
            scalars = {key: value for key, value in scalars.items() if key not in undefined}
        return Result("recovery", scalars, tables, meta)


def require_planted(store: Store) -> None:
    """Check that a store holds a planted world whose features are known."""
    is_planted = "planted" in store.meta and (store.folder / "truth.safetensors").is_file()
    if not is_planted:
        raise NotApplicable(
            "recovery needs activations of a planted world (data=planted), whose features are known"
        )


def _flatten(rows: list[dict[str, Any]], name: str, figures: tuple[str, ...]) -> dict[str, float]:
    """Return `figure/<rule or score>/<source>` for every row."""
    scalars = {}
    for figure in figures:
        for row in rows:
            scalars[f"{figure}/{KEYS[row[name]]}/{row['source']}"] = row[figure]
    return scalars
