"""Compare methods: find their evidence, and score all of it alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from crosscoder.behaviours.auroc import compute_auroc
from crosscoder.data.vocabulary import count_ids
from crosscoder.evals.diffing.evidence import Evidence, Method, TokensPiece
from crosscoder.evals.diffing.lenses import LOGIT, Lenses
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.prompts import ReadPrompts
from crosscoder.evals.diffing.removal import Removal, Row
from crosscoder.evals.diffing.trigger import TriggerScores, score_trigger
from crosscoder.evals.diffing.vocabulary import (
    PlantedVocabulary,
    find_planted_ids,
    list_directed,
)
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.evals.support.optional import OptionalSteps


@dataclass
class MethodReport:
    """The evidence of one method, and its scores.

    Args:
        method: The method.
        pieces: Its evidence, the best piece first.
        columns: Columns of each piece: what it names, and how much of that was planted.
        vocabulary: Columns of the method: its share of the planted vocabulary.
        trigger: How well the pieces tell prompts apart; None if it was not measured.
        removal: Rows by number of removed pieces.
    """

    method: Method
    pieces: Sequence[Evidence]
    columns: list[Row] = field(default_factory=list)
    vocabulary: Row = field(default_factory=dict)
    trigger: TriggerScores | None = None
    removal: list[Row] = field(default_factory=list)


def find_evidence(
    methods: Mapping[str, Method], material: Material, steps: OptionalSteps
) -> dict[str, MethodReport]:
    """Return the evidence of all methods that can be used; the others are noted in `steps`."""
    reports = {}
    for name, method in methods.items():
        pieces = steps.attempt(name, partial(method.find_evidence, material))
        if pieces is not None:
            reports[name] = MethodReport(method, list(pieces))
    return reports


# --- what the pieces name ---


def read_pieces(reports: Mapping[str, MethodReport], lenses: Lenses, words: Sequence[str]) -> None:
    """Add to the reports what the pieces name, and their shares of the planted words.

    Args:
        reports: The evidence by method.
        lenses: The lenses by which directions are read.
        words: The planted words; without any there are no shares.
    """
    vocabulary = _plant(lenses, words) if words else None
    for report in reports.values():
        directed = list_directed(report.pieces)
        tokens = [piece for piece in report.pieces if isinstance(piece, TokensPiece)]
        if directed:
            promoted = lenses.promote(torch.stack([piece.direction for piece in directed]))
            report.columns = _write_promoted(lenses, promoted)
            if vocabulary is not None:
                _add_shares(report, vocabulary, vocabulary.measure_pieces(promoted))
        elif tokens:
            report.columns = [{"tokens": lenses.write(piece.ids)} for piece in tokens]
            if vocabulary is not None:
                share, chance = vocabulary.measure_tokens(tokens)
                report.vocabulary = {"vocabulary": share, "chance vocabulary": chance}


def _write_promoted(lenses: Lenses, promoted: Mapping[str, Tensor]) -> list[Row]:
    """Return columns with the tokens that each direction promotes, one row per direction."""
    n = len(next(iter(promoted.values())))
    rows: list[Row] = [{} for _ in range(n)]
    for lens, ids in promoted.items():
        for row, own in zip(rows, ids.tolist(), strict=True):
            row[f"{lens} lens"] = lenses.write(own)
    return rows


def _plant(lenses: Lenses, words: Sequence[str]) -> PlantedVocabulary:
    """Return the planted vocabulary as tokens of the models."""
    context = lenses.material.context
    tokenizer = lenses.material.pair.tokenizer
    n_ids = max(tokenizer.get_vocab().values()) + 1
    planted = find_planted_ids(tokenizer, words, n_ids)
    counts = torch.zeros(n_ids, dtype=torch.int64)
    found = count_ids([context.heldout])
    if found is not None:
        counts[: len(found)] = found
    return PlantedVocabulary(planted, counts, lenses, context.seed)


def _add_shares(
    report: MethodReport, vocabulary: PlantedVocabulary, shares: Sequence[Mapping[str, float]]
) -> None:
    chance = vocabulary.measure_chance(report.pieces)
    for column, own in zip(report.columns, shares, strict=True):
        column |= {f"planted, {lens} lens": share for lens, share in own.items()}
    for lens, level in chance.items():
        suffix = "" if lens == LOGIT else f", {lens} lens"
        report.vocabulary[f"vocabulary{suffix}"] = max(own[lens] for own in shares)
        report.vocabulary[f"chance vocabulary{suffix}"] = level


# --- the behaviour ---


def score_triggers(
    reports: Mapping[str, MethodReport],
    material: Material,
    benchmark: InterventionBenchmark,
    n_shuffles: int,
) -> dict[str, float]:
    """Add to the reports how well the pieces tell held-out prompts apart.

    Returns:
        `auroc/length`: the AUROC of the number of a prompt's tokens. A longer prompt has larger
        maxima whatever it says.
    """
    questions = [*benchmark.questions, *benchmark.control_questions]
    crosscoder = material.context.crosscoder
    prompts = ReadPrompts.read(
        benchmark.pair, crosscoder, [question.prompt for question in questions]
    )
    n = len(benchmark.questions)
    is_framing = np.arange(len(questions)) < n
    for report in reports.values():
        scores = np.zeros((len(report.pieces), len(questions)))
        for place, piece in enumerate(report.pieces):
            scores[place] = piece.score(prompts)
        report.trigger = score_trigger(scores, is_framing, n_shuffles, material.context.seed)
    lengths = prompts.lengths
    return {"auroc/length": compute_auroc(lengths[:n], lengths[n:])}


def remove_pieces(
    reports: Mapping[str, MethodReport],
    material: Material,
    benchmark: InterventionBenchmark,
    sizes: Sequence[int],
) -> tuple[list[Row], dict[str, float]]:
    """Add to the reports what becomes of the behaviour without the first pieces.

    Returns:
        The rows of all methods and of random pieces, and the rates of the unedited models.
    """
    removal = Removal(benchmark, material, sizes)
    rows = removal.measure({name: report.pieces for name, report in reports.items()})
    for name, report in reports.items():
        report.removal = [row for row in rows if row["method"] == name]
    return rows, removal.describe_clean()
