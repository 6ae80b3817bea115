"""Null controls: train and analyse where nothing differs, or where the difference is known.

A count of exclusive latents means something only as far as it exceeds the count of the same rule
where nothing differs (*noise*, *reseed*), and as far as the rule finds what was planted. On
*shuffled* pairs most latents must be exclusive. See support/controls.py. Each control is trained as
the crosscoder itself was, and kept in the run folder.

The planted control also calibrates the verdict (analysis/calibration.py): from then on a latent is
specific at a false-discovery rate. *Reseed* shares the domain of the finetuning: what two runs of
it have in common does not show there, and what each run learnt by chance does.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crosscoder.analysis.calibration import Calibration
from crosscoder.analysis.columns.verdict import count_verdicts
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Saveable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.calibrated import compare_scores, fit_calibration
from crosscoder.evals.support.controls import Control, ControlStores, Planted, Reseed
from crosscoder.evals.support.exclusive import Rule, count_calls, exclusive_rate, exclusive_rules
from crosscoder.evals.support.kept import is_kept
from crosscoder.evals.support.planted_latents import PlantedLatents, find_latents
from crosscoder.io.run_dir import Run
from crosscoder.values import require_types, require_whole

THIS_PAIR = "this pair"


@dataclass
class Trained:
    """Tables of the controls by name, and what the planted one found.

    Args:
        tables: Table of this pair and of each control that was trained.
        seconds: Time that each took.
        latents: Latents of the planted control by their feature; None without that control.
        left_out: Reason why a control was left out, by name.
    """

    tables: dict[str, LatentTable] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    latents: PlantedLatents | None = None
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NullsEval:
    """Calibrate the verdict, and count exclusive latents on null controls by every rule.

    Scalars of the verdict: `false_exclusive_rate/<control>` among live latents, `recall_planted`
    among planted exclusive features, `false_positive_rate/<kind>` among planted decoys, and
    `exclusive_rate/shuffled`. The table `rules` has the same of every published rule, `scores` of
    every score that could be calibrated.

    Args:
        controls: The controls, see support/controls.py.
        train_tokens: Tokens that each control is trained on; None: as many as the crosscoder.
    """

    controls: Sequence[Control]
    train_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.train_tokens is not None:
            require_whole("eval.nulls.train_tokens", self.train_tokens)
        require_types("eval.nulls", self)

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        diff_pair = context.crosscoder.sources.comparable
        if diff_pair is None:
            raise NotApplicable("null controls need two compared sources of equal width")
        trained = self._train_controls(context)
        calibration = self._calibrate(context, trained)
        tables = {name: context.judge(table) for name, table in trained.tables.items()}
        result_tables = self._make_tables(context, tables, trained, calibration)
        scalars = _make_scalars(result_tables["rules"][0], trained.latents)
        # the cost of all controls, also of those that were trained earlier
        seconds = sum(trained.seconds.values())
        meta = tables[THIS_PAIR].meta | {"seconds": seconds, "seed": context.seed}
        if trained.left_out:
            meta["left_out"] = trained.left_out
        files = _rejudge_files(context)
        return Result("nulls", scalars, result_tables, meta, files)

    def _train_controls(self, context: EvalContext) -> Trained:
        """Train every control that this crosscoder can have, and analyse it."""
        trained = Trained()
        start = time.perf_counter()
        own_table = context.latent_table
        trained.tables[THIS_PAIR] = own_table
        trained.seconds[THIS_PAIR] = time.perf_counter() - start
        context.open_stores()  # without the training activations there is no control at all
        for control in self.controls:
            start = time.perf_counter()
            try:
                stores = control.make_stores(context, own_table)
            except NotApplicable as reason:
                trained.left_out[control.name] = str(reason)
                continue
            if stores is None:
                continue
            crosscoder = self._train(context, control, stores)
            table = context.analysis.make_table(crosscoder, stores.heldout)
            trained.tables[control.name] = table
            if isinstance(control, Planted) and stores.plants is not None:
                features = find_latents(stores.plants, crosscoder, control.found)
                trained.latents = PlantedLatents(stores.plants, features)
            # a control that was trained earlier costs what it cost then
            seconds = max(time.perf_counter() - start, crosscoder.provenance["seconds"])
            trained.seconds[control.name] = seconds
        return trained

    def _calibrate(self, context: EvalContext, trained: Trained) -> Calibration | None:
        """Calibrate the verdict if features were planted, and save the calibration."""
        if trained.latents is None:
            return None
        meta = {
            "crosscoder_sha256": context.crosscoder_sha256,
            "pair": context.crosscoder.sources.describe(),
            "seed": context.seed,
        }
        try:
            calibration = fit_calibration(trained.tables["planted"], trained.latents, meta)
        except NotApplicable as reason:
            trained.left_out["calibration"] = str(reason)
            return None
        context.calibrate(calibration)
        if context.folder is not None:
            calibration.save(context.folder)
        return calibration

    def _make_tables(
        self,
        context: EvalContext,
        tables: dict[str, LatentTable],
        trained: Trained,
        calibration: Calibration | None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the printed tables."""
        diff_pair = tuple(tables[THIS_PAIR].meta["contrast"])
        verdicts = []
        for name, table in tables.items():
            counts = count_verdicts(table["verdict"], diff_pair)
            verdicts.append({"control": name, **counts, "seconds": trained.seconds[name]})
        rules = [
            _judge_rule(name, rule, tables, trained.latents)
            for name, rule in exclusive_rules(diff_pair).items()
        ]
        printed = {"rules": rules, "verdicts": verdicts}
        if trained.latents is not None and calibration is not None:
            printed["scores"] = compare_scores(
                calibration, context.analysis.rule, trained.tables, trained.latents
            )
            calls = exclusive_rules(diff_pair)["verdict"](tables["planted"])
            printed["by density"] = trained.latents.count_by_density(calls)
        return printed

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> list[int]:
        """Return the training tokens of each control that is not kept from before."""
        if context.crosscoder.sources.comparable is None or context.load_recipe is None:
            return []
        tokens = []
        for control in self.controls:
            if control.applies_to(context) and not self._is_kept(context, control):
                tokens.append(self._count_tokens(context, control))
        return tokens

    def needs_models(self, context: EvalContext) -> bool:
        """Return whether a control harvests activations, and has not done so before."""
        if context.crosscoder.sources.comparable is None or context.load_recipe is None:
            return False
        reseeds = [control for control in self.controls if isinstance(control, Reseed)]
        return any(
            control.applies_to(context) and not self._is_kept(context, control)
            for control in reseeds
        )

    def _count_tokens(self, context: EvalContext, control: Control) -> int:
        """Return the number of tokens that a control is trained on, at least one batch."""
        recipe = context.require_recipe()
        n_tokens = self.train_tokens or recipe.train_tokens
        return max(min(n_tokens, recipe.batch_size), round(control.train_fraction * n_tokens))

    def _is_kept(self, context: EvalContext, control: Control) -> bool:
        """Return whether the crosscoder of a control was trained before."""
        tokens = self._count_tokens(context, control)
        return is_kept(context, control.name, context.seed, control, train_tokens=tokens)

    def _train(self, context: EvalContext, control: Control, stores: ControlStores) -> Crosscoder:
        """Train the crosscoder of a control; planted features get latents of their own."""
        plants = stores.plants
        return train_auxiliary(
            context,
            (stores.train, stores.validation),
            control.name,
            context.seed,
            origin=control,
            more_l0=0.0 if plants is None else plants.mean_active,
            train_tokens=self._count_tokens(context, control),
        )


def _judge_rule(
    name: str, rule: Rule, tables: dict[str, LatentTable], latents: PlantedLatents | None
) -> dict[str, Any]:
    """Return the row of a rule: its calls on this pair and its rates on the controls."""
    row: dict[str, Any] = {"rule": name}
    for control, table in tables.items():
        calls = rule(table)
        if control == THIS_PAIR:
            row[THIS_PAIR] = count_calls(calls)
            row["this pair, rate"] = exclusive_rate(calls, table)
        elif control == "planted" and latents is not None:
            row |= latents.measure_rates(calls)
        else:
            row[control] = exclusive_rate(calls, table)
    return row


def _make_scalars(verdict: dict[str, Any], latents: PlantedLatents | None) -> dict[str, float]:
    """Return the scalars of the verdict from its row."""
    names = {
        "noise": "false_exclusive_rate/noise",
        "reseed": "false_exclusive_rate/reseed",
        "shuffled": "exclusive_rate/shuffled",
        "this pair, rate": "exclusive_rate/this_pair",
        "recall": "recall_planted",
    }
    if latents is not None:
        names |= {kind: f"false_positive_rate/{kind}" for kind in latents.list_decoys()}
    scalars = {scalar: verdict[key] for key, scalar in names.items() if key in verdict}
    # a kind of decoys that no latent writes has no rate
    return {name: value for name, value in scalars.items() if not math.isnan(value)}


def _rejudge_files(context: EvalContext) -> dict[str, Saveable | None]:
    """Return `latents.parquet` with the calibrated verdict, if the run has it already."""
    if context.folder is None or not context.calibrations:
        return {}
    path = Run(context.folder).table_path("latents")
    if not path.is_file():
        return {}
    table = LatentTable.load(path)
    is_own = table.meta.get("crosscoder_sha256") == context.crosscoder_sha256
    return {path.name: context.judge(table)} if is_own else {}
