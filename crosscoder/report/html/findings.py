"""First screen of the page: what finetuning changed, in words made from figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crosscoder.analysis.calibration import read_fdr
from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.lm.readable_tokens import make_readable
from crosscoder.report.html.candidates import (
    SHARE,
    choose_candidates,
    find_q,
    read_ablated_set,
    select_dense,
    select_specific,
)
from crosscoder.report.numbers import format_number
from crosscoder.report.shapes import select_rows
from crosscoder.values import is_finite

LENSES = ("tokens", "jacobian_tokens")
N_PROMOTED = 6
N_AROUND = 12  # tokens of a context that are shown on each side of its peak
EFFECT = "KL ablated in"  # head of the column, before the name of the model
UNMEASURED = "Their causal effect was not measured; eval=[ablation,equivalence] measures it."


@dataclass(frozen=True)
class Passage:
    """A context around its peak, as readable text."""

    before: str
    peak: str
    after: str


@dataclass(frozen=True)
class Candidate:
    """A latent of the first screen.

    Args:
        latent: Its index.
        verdict: Its verdict; "" if there are none.
        label: What it is active on, in words; "" if it has no label.
        passage: The context in which it is strongest.
        promotes: Tokens that it promotes.
        figures: Numbers by the head of their column.
    """

    latent: int
    verdict: str
    label: str
    passage: Passage | None
    promotes: list[str]
    figures: dict[str, str]


@dataclass(frozen=True)
class Findings:
    """Content of the first screen; it is not drawn if nothing is compared.

    Args:
        sentences: What was found, one thing each.
        dense: Latents that form the mean difference, the largest first.
        dense_share: Fraction of the difference that they explain, formatted.
        candidates: The latents that say most.
    """

    sentences: list[str]
    dense: list[int]
    dense_share: str
    candidates: list[Candidate]

    def __bool__(self) -> bool:
        return bool(self.candidates or self.dense)

    @property
    def figure_names(self) -> list[str]:
        """Return the heads of the columns that any candidate has a number for."""
        names: dict[str, None] = {}
        for candidate in self.candidates:
            names |= dict.fromkeys(candidate.figures)
        return list(names)

    @property
    def has_effects(self) -> bool:
        """Tell whether the effect of ablating any candidate alone was measured."""
        return any(name.startswith(EFFECT) for name in self.figure_names)


def find_findings(
    table: LatentTable,
    contexts: pd.DataFrame | None,
    results: Mapping[str, Result],
    diff_pair: Sequence[str],
) -> Findings:
    """Collect what a run found about the difference of two models.

    Args:
        table: The table of latents.
        contexts: Contexts of the latents.
        results: Results of the evals by name.
        diff_pair: The two compared sources.
    """
    latents = choose_candidates(table, diff_pair, results)
    dense = table.frame.loc[select_dense(table)] if diff_pair else table.frame.head(0)
    if len(dense):
        dense = dense.sort_values(SHARE, ascending=False, kind="stable")
    explained = "difference_explained" if "difference_explained" in dense else SHARE
    share = float(dense[explained].to_numpy().sum()) if len(dense) else 0.0
    return Findings(
        _write_sentences(table, diff_pair, results) if diff_pair else [],
        [int(latent) for latent in dense["latent"]],
        format_number(share, "percent"),
        _describe_candidates(table, latents, contexts, results, diff_pair),
    )


# --- sentences ---


def _write_sentences(
    table: LatentTable, diff_pair: Sequence[str], results: Mapping[str, Result]
) -> list[str]:
    sentences = [
        _describe_fit(results.get("reconstruction")),
        _describe_verdict(table, diff_pair),
        _describe_ablation(results.get("ablation")),
        *_describe_steering(results.get("steering")),
    ]
    if not {"ablation", "equivalence"} & set(results):
        sentences.append(UNMEASURED)
    return [sentence for sentence in sentences if sentence]


def _describe_fit(result: Result | None) -> str:
    fve = result.scalars.get("fve/difference") if result else None
    if not is_finite(fve):
        return ""
    return f"The crosscoder explains {format_number(fve, 'percent')} of the models' difference."


def _describe_verdict(table: LatentTable, diff_pair: Sequence[str]) -> str:
    fdr = read_fdr(table.meta)
    if fdr is None:
        return "Not calibrated (eval=nulls): the latents below write most of the difference."
    is_specific = select_specific(table, diff_pair)
    if not is_specific.any():
        return (
            f"No latent is specific to a model at a false-discovery rate of {fdr:.3g}: "
            "the latents below write most of the difference."
        )
    verdicts = table["verdict"][is_specific]
    counts = [f"{np.sum(verdicts == f'{name}-specific'):,} to {name}" for name in diff_pair]
    return f"Specific latents: {', '.join(counts)} (false-discovery rate {fdr:.3g})."


def _describe_ablation(result: Result | None) -> str:
    ablated = read_ablated_set(result)
    if ablated is None:
        return ""
    removed = format_number(ablated.removed, "percent")
    sentence = f"Ablating {len(ablated.latents)} latents removes {removed} of the behaviour"
    if is_finite(ablated.random):
        random = format_number(ablated.random, "percent")
        sentence += f"; as many random latents remove {random}"
    return f"{sentence}."


def _describe_steering(result: Result | None) -> list[str]:
    if result is None:
        return []
    sentences = []
    for key, steered in result.scalars.items():
        name, _, model = key.partition("/")
        before = result.scalars.get(f"rate/{model}")
        if name == "rate_steered" and is_finite(steered) and is_finite(before):
            rates = [format_number(rate, "percent") for rate in (before, steered)]
            sentences.append(
                f"Steering {model} changes the rate of the behaviour from {rates[0]} to {rates[1]}."
            )
    return sentences


# --- candidates ---


def _describe_candidates(
    table: LatentTable,
    latents: Sequence[int],
    contexts: pd.DataFrame | None,
    results: Mapping[str, Result],
    diff_pair: Sequence[str],
) -> list[Candidate]:
    frame = table.frame.set_index("latent", drop=False).loc[list(latents)]
    q = find_q(frame, diff_pair)
    if q is not None and read_fdr(table.meta) is not None:
        frame = frame.assign(**{"smallest q": q})
    strongest = _find_strongest_contexts(contexts, latents)
    effects = _read_effects(results.get("equivalence"), diff_pair)
    lens = _choose_lens(table.columns, diff_pair)
    candidates = []
    for row in frame.to_dict("records"):
        latent = int(row["latent"])
        label = row.get("label")
        promoted = list(row[lens])[:N_PROMOTED] if lens else []
        candidates.append(
            Candidate(
                latent,
                str(row.get("verdict", "")),
                label if isinstance(label, str) else "",
                _cut_passage(strongest[latent]) if latent in strongest else None,
                make_readable(promoted),
                _format_figures(row) | effects.get(latent, {}),
            )
        )
    return candidates


def _format_figures(row: Mapping[str, Any]) -> dict[str, str]:
    figures = {}
    if "smallest q" in row:
        figures["q"] = format_number(row["smallest q"], "number")
    figures["of the difference"] = format_number(row[SHARE], "percent")
    if "density" in row:
        figures["of tokens"] = format_number(row["density"], "percent")
    return figures


def _read_effects(result: Result | None, diff_pair: Sequence[str]) -> dict[int, dict[str, str]]:
    """Return for each latent the KL in nats of ablating it in each model, by column."""
    if result is None:
        return {}
    effects = {}
    for row in select_rows(result, "latents", (), ("latent",)):
        kls = {}
        for name in diff_pair:
            if is_finite(row.get(f"KL {name}")):
                kls[f"{EFFECT} {name}"] = format_number(row[f"KL {name}"], "number")
        effects[row["latent"]] = kls
    return effects


def _choose_lens(columns: Sequence[str], diff_pair: Sequence[str]) -> str:
    """Return the column of promoted tokens that is shown; "" if there is none."""
    sources = ("difference", *diff_pair)
    for lens in LENSES:
        for source in sources:
            if f"{lens}/{source}" in columns:
                return f"{lens}/{source}"
    return ""


def _find_strongest_contexts(
    contexts: pd.DataFrame | None, latents: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Return for each latent its context with the largest activation."""
    if contexts is None:
        return {}
    strongest: dict[int, dict[str, Any]] = {}
    largest: dict[int, float] = {}
    for row in contexts.loc[contexts["latent"].isin(latents)].to_dict("records"):
        latent = int(row["latent"])
        activation = max(row["activations"], default=0.0)
        if latent not in strongest or activation > largest[latent]:
            strongest[latent] = row
            largest[latent] = activation
    return strongest


def _cut_passage(context: Mapping[str, Any]) -> Passage:
    """Return the tokens around a context's peak as readable text."""
    tokens = make_readable(list(context["tokens"]))
    peak = int(context["peak"])
    first = max(0, peak - N_AROUND)
    last = peak + 1 + N_AROUND
    before = "".join(tokens[first:peak])
    after = "".join(tokens[peak + 1 : last])
    return Passage(
        ("…" if first else "") + before, tokens[peak], after + ("…" if last < len(tokens) else "")
    )
