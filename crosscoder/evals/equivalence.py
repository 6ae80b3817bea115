"""Ablate latents in each model on the same inputs, and compare the effects: causal equivalence.

A latent of both models has two decoders. That they point in one direction does not say that the
models use it alike. The latent is ablated in each model,

    x'_s = x_s − f_j d_j^s,      KL_s(i) = mean over tokens of KL(model s ‖ model s ablated)

on inputs i, and its causal equivalence is the correlation of the two effects,

    CE_j = Pearson over i of KL_base(i) and KL_chat(i)        Vicentino 2026, cosine-causal gap

On Gemma 2 2B, layer 13, 80 shared latents that are often active, on 256 inputs, had a median
decoder cosine of .965 and a median CE of .616; 38 % had a cosine above .7 and a CE below .5 (the
*gap*).

Latents are drawn within each verdict class, one from every stratum of density. An input is a window
of a few held-out tokens after its context, where nothing is ablated. Most windows begin with a
token on which the latent is active, in proportion to how often it is; the rest are drawn from all
tokens. They are the same for both models. A window without activity has KL 0 in both models; such
windows alone pull CE up, so `CE active` leaves out the windows that were drawn from all. A latent
whose KL does not vary in one of the models, or is nowhere above rounding, has no CE.

The models compute in float32 whatever their dtype: in bfloat16 the rounding of the edited
activations causes a KL as large as that of a typical latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.bootstrap import bootstrap_interval
from crosscoder.core.sources import Source
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.latent_sets import group_by_verdict
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.windows import (
    TextPool,
    Windows,
    draw_windows,
    measure_ablation_kls,
)
from crosscoder.values import require_fraction, require_types

MIN_ACTIVE = 16  # tokens on which a latent is active; rarer ones are not drawn
MIN_KL = 1e-6  # nats; a smaller KL is rounding in float32
GAP_COSINE = 0.7
GAP_CE = 0.5
PUBLISHED = {
    "class": "published, shared",
    "latents": 80,
    "CE": 0.616,
    "cosine": 0.965,
    "gap": 0.3824,
}
Row = dict[str, Any]


@dataclass(frozen=True)
class EquivalenceEval:
    """Correlation of the effects that ablating a latent has on each of the two models.

    Scalars by verdict class: `ce/<class>`, `cosine/<class>` (medians), `gap/<class>` and
    `n/<class>`; `n_without_ce`. Tables: `classes`, and `latents` with every latent. Column of the
    table of latents: `causal_equivalence`.

    Args:
        n_latents: Number of latents of each verdict class; all if it has fewer.
        n_inputs: Number of inputs of each latent; fewer if it is rarely active.
        random_fraction: Fraction of the inputs that are drawn from all tokens.
        tokens_per_input: Number of tokens in which the latent is ablated and the KL is measured.
        n_tokens: Number of held-out tokens from which inputs are drawn.
    """

    n_latents: int = 12
    n_inputs: int = 48
    random_fraction: float = 0.25
    tokens_per_input: int = 4
    n_tokens: int = 32768

    def __post_init__(self) -> None:
        require_types("eval.equivalence", self)
        require_fraction("eval.equivalence.random_fraction", self.random_fraction)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: latents are ablated in the models."""
        return True

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        # one latent's effect is so small that bfloat16's rounding would hide it
        pair = context.require_models("equivalence").in_dtype("float32")
        models = _find_compared_models(context)
        table = context.latent_table
        drawn = draw_by_density(table, self.n_latents, context.seed)
        latents: list[int] = []
        for chosen in drawn.values():
            latents += chosen
        if not latents:
            raise NotApplicable(
                f"no latent is active on {MIN_ACTIVE} held-out tokens: there is nothing to ablate"
            )
        pool = TextPool.read(context.heldout, context.crosscoder, latents, self.n_tokens)
        windows = self._draw_windows(pool, context.seed)
        kls = {}
        for lm, sources in models.items():
            kls[lm] = measure_ablation_kls(
                pair[lm], context.crosscoder, sources, pool, windows, f"ablate in {lm}"
            )
        pair.release()
        rows = _tabulate_latents(table, latents, windows, kls)
        classes = [
            _summarise_class(name, [row for row in rows if row["verdict"] == name], context.seed)
            for name in drawn
        ]
        columns = [{"latent": row["latent"], "causal_equivalence": row["CE"]} for row in rows]
        meta = {
            "n_tokens": pool.ids.numel(),
            "n_inputs": len(windows.starts),
            "models": list(models),
            "tokens_per_input": self.tokens_per_input,
            "published": PUBLISHED,
        }
        tables = {"classes": [*classes, PUBLISHED], "latents": rows, TABLE: columns}
        return Result("equivalence", _make_scalars(classes, rows), tables, meta)

    def _draw_windows(self, pool: TextPool, seed: int) -> Windows:
        n_random = round(self.random_fraction * self.n_inputs)
        n_active = self.n_inputs - n_random
        return draw_windows(pool, self.tokens_per_input, n_active, n_random, seed)


def _find_compared_models(context: EvalContext) -> dict[str, list[Source]]:
    """Return the sources of each of the two compared models, by the model's name.

    Raises:
        NotApplicable: The crosscoder does not compare two models of equal width.
    """
    sources = context.crosscoder.sources
    compared = sources.diff_pair if sources.comparable else None
    models: dict[str, list[Source]] = {}
    for name in compared or ():
        lm = sources[name].lm
        models[lm] = [source for source in sources if source.lm == lm]
    if len(models) != 2:
        raise NotApplicable(
            "equivalence needs two compared language models of equal width, but the crosscoder "
            f"reads {sources.describe()}"
        )
    return models


def draw_by_density(table: LatentTable, n: int, seed: int) -> dict[str, list[int]]:
    """Draw latents of each verdict class, one from each of `n` strata of density.

    Args:
        table: The table of latents.
        n: Number of latents of a class; all if it has fewer.
        seed: Random seed.

    Returns:
        Latents by class, without those that are active on fewer than MIN_ACTIVE tokens.
    """
    often = table.query(f"n_active >= {MIN_ACTIVE}").sort("density")
    drawn = {}
    for number, (name, latents) in enumerate(group_by_verdict(often).items()):
        generator = np.random.default_rng((seed, number))
        strata = np.array_split(np.array(latents), min(n, len(latents)))
        drawn[name] = [int(generator.choice(stratum)) for stratum in strata]
    return drawn


def correlate_kls(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Pearson correlation; NaN if one of the two does not vary more than by rounding."""
    if len(a) < 2 or min(np.ptp(a), np.ptp(b)) < MIN_KL:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _tabulate_latents(
    table: LatentTable, latents: list[int], windows: Windows, kls: Mapping[str, np.ndarray]
) -> list[Row]:
    """Return a row for each latent."""
    frame = table.frame.set_index("latent")
    first, second = kls
    rows = []
    for number, latent in enumerate(latents):
        is_own = windows.latents == number
        is_active = is_own & windows.is_drawn_active
        row: Row = {
            "latent": latent,
            "verdict": str(frame.loc[latent, "verdict"]),
            "density": float(frame.loc[latent, "density"]),
            "cosine": float(frame.loc[latent, "cosine"]),
            "CE": correlate_kls(kls[first][is_own], kls[second][is_own]),
            "CE active": correlate_kls(kls[first][is_active], kls[second][is_active]),
            "inputs": int(is_own.sum()),
            "active inputs": int(is_active.sum()),
        }
        for lm, kl in kls.items():
            row[f"KL {lm}"] = float(kl[is_active].mean()) if is_active.any() else float("nan")
        rows.append(row)
    return rows


def _summarise_class(name: str, rows: list[Row], seed: int) -> Row:
    """Return the medians of a class over its latents that have a CE, and the size of the gap."""
    measured = [row for row in rows if np.isfinite(row["CE"])]
    ce = np.array([row["CE"] for row in measured])
    ce_active = np.array([row["CE active"] for row in measured])
    cosine = np.array([row["cosine"] for row in measured])
    summary: Row = {
        "class": name,
        "latents": len(measured),
        "without CE": len(rows) - len(measured),
    }
    if not measured:
        return summary
    low, high = bootstrap_interval(lambda values: np.median(values, -1), ce, seed=seed)
    is_gap = (cosine > GAP_COSINE) & (ce < GAP_CE)
    return summary | {
        "CE": float(np.median(ce)),
        "CE low": low,
        "CE high": high,
        "CE active": float(np.nanmedian(ce_active)),
        "cosine": float(np.median(cosine)),
        "gap": float(is_gap.mean()),
    }


def _make_scalars(classes: list[Row], rows: list[Row]) -> dict[str, float]:
    scalars: dict[str, float] = {}
    for row in classes:
        name = row["class"]
        scalars[f"n/{name}"] = row["latents"]
        if row["latents"]:
            scalars[f"ce/{name}"] = row["CE"]
            scalars[f"cosine/{name}"] = row["cosine"]
            scalars[f"gap/{name}"] = row["gap"]
    scalars["n_without_ce"] = sum(not np.isfinite(row["CE"]) for row in rows)
    return scalars
