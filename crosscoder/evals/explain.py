"""Label latents, and score each label by how well it predicts where its latent is active.

With an OpenAI-compatible endpoint, a language model writes a label from windows over the whole
range of a latent's activation, and takes three tests on other windows: detection, fuzzing and
intruder (evals/explanations/scoring.py). Without one, the label consists of distinctive words, and
takes the detection test by the occurrence of these words (evals/explanations/lexical.py).

Replies are kept in `RUN/explanations`, one file for each latent. So an interrupted evaluation
continues where it ended, and a second one sends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.chat_endpoint import ChatEndpoint
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.explanations.examples import LatentExamples, draw_examples
from crosscoder.evals.explanations.lexical import (
    find_distinctive_words,
    predict_by_words,
    write_lexical_label,
)
from crosscoder.evals.explanations.prompts import ask_for_label, read_label
from crosscoder.evals.explanations.replies import Budget, KeptReplies, OutOfBudget
from crosscoder.evals.explanations.scoring import (
    CHANCE,
    Verdicts,
    detect,
    find_intruders,
    fuzz,
)
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.windows import TextPool
from crosscoder.lm.readable_tokens import make_readable
from crosscoder.runtime.progress import progress
from crosscoder.values import require_types

FOLDER = "explanations"
PROMOTED = ("tokens/difference", "jacobian_tokens/difference")
Row = dict[str, Any]


@dataclass(frozen=True)
class ExplainEval:
    """Labels of latents, with scores on windows that did not shape them.

    Scalars: `n_labels`, `n_rare` (latents with too few active windows), `requests`, and the means
    `detection`, `fuzzing` and `intruder` with the chance level of each. Table: `labels`. Columns of
    the table of latents: `label` and `label_score/<test>`.

    Args:
        n_latents: Number of latents: those that are specific to a source first, then by difference
            energy.
        endpoint: Language model that writes and tests the labels; None: words are used.
        budget: Largest number of requests of one evaluation.
        n_shown: Active windows from which a label is written.
        n_scored: Active windows, and windows without activity, on which it is tested.
        n_tokens: Number of held-out tokens from which windows are drawn.
        window: Tokens of a window.
    """

    n_latents: int = 32
    endpoint: ChatEndpoint | None = None
    budget: int = 500
    n_shown: int = 20
    n_scored: int = 20
    n_tokens: int = 65536
    window: int = 32

    def __post_init__(self) -> None:
        require_types("eval.explain", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return False: only the tokenizer is read."""
        return False

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        if context.pair is None:
            raise NotApplicable(
                "explain needs the text of the tokens, but this crosscoder was trained without "
                "language models"
            )
        table = _read_saved_table(context)
        latents = choose_latents(table, self.n_latents)
        pool = TextPool.read(context.heldout, context.crosscoder, latents, self.n_tokens)
        names = make_readable(context.pair.name_tokens(pool.ids.flatten().tolist()))
        drawn = draw_examples(pool, names, self.window, self.n_shown, self.n_scored, context.seed)
        if not drawn:
            raise NotApplicable(
                f"none of {len(latents)} latents is active in enough windows of "
                f"{self.n_tokens:,} held-out tokens: raise eval.explain.n_tokens"
            )
        promoted = _read_promoted(table)
        if self.endpoint is None:
            rows = [
                self._explain_by_words(examples, promoted, context.seed)
                for examples in drawn.values()
            ]
            meta = {"by": "words", "n_rare": len(latents) - len(drawn)}
            return _make_result(table, rows, meta)
        rows, meta = self._ask_endpoint(context, drawn, promoted)
        meta["n_rare"] = len(latents) - len(drawn)
        return _make_result(table, rows, meta)

    def _explain_by_words(
        self, examples: LatentExamples, promoted: dict[int, list[str]], seed: int
    ) -> Row:
        words = find_distinctive_words(examples)
        verdicts = Verdicts()
        for windows, is_active in ((examples.active, True), (examples.inactive, False)):
            called = predict_by_words(words, windows)
            verdicts.add([is_active] * len(windows), called)
        row: Row = {"latent": examples.latent}
        row["label"] = write_lexical_label(words, promoted.get(examples.latent, []))
        return row | _describe_score("detection", verdicts, seed)

    def _ask_endpoint(
        self,
        context: EvalContext,
        drawn: dict[int, LatentExamples],
        promoted: dict[int, list[str]],
    ) -> tuple[list[Row], dict[str, Any]]:
        """Explain the latents one after the other, until the budget is used up.

        Returns:
            A row for each explained latent, and metadata of the result.
        """
        assert self.endpoint is not None
        budget = Budget(self.budget)
        meta: dict[str, Any] = {"by": self.endpoint.model}
        rows: list[Row] = []
        with progress("latents") as bar:
            task = bar.add_task("explain", total=len(drawn), note="")
            for examples in drawn.values():
                path = _name_file(context.folder, examples.latent)
                replies = KeptReplies(self.endpoint, path, budget)
                try:
                    own = promoted.get(examples.latent, [])
                    rows.append(explain_by_endpoint(replies, examples, own, context.seed))
                except OutOfBudget as error:
                    reason = f"{error} after {len(rows)} of {len(drawn)} latents: evaluate again"
                    meta["left_out"] = {"latents": reason}
                    break
                bar.advance(task)
        meta["requests"] = budget.n_sent
        return rows, meta


def explain_by_endpoint(
    replies: KeptReplies, examples: LatentExamples, promoted: Sequence[str], seed: int
) -> Row:
    """Return a latent's label and its three scores.

    Raises:
        OutOfBudget: A request is needed, but none may be sent.
        UserError: The endpoint cannot be used.
    """
    label = read_label(replies.ask(ask_for_label(examples.shown, promoted)))
    row: Row = {"latent": examples.latent, "label": label}
    if label:
        detected = detect(replies.ask, label, examples, seed)
        fuzzed = fuzz(replies.ask, label, examples, seed)
        row |= _describe_score("detection", detected, seed)
        row |= _describe_score("fuzzing", fuzzed, seed)
        row["unreadable"] = detected.n_unreadable + fuzzed.n_unreadable
    is_right, n_unreadable = find_intruders(replies.ask, examples, seed)
    row["intruder"] = float(np.mean(is_right)) if is_right else float("nan")
    row["unreadable"] = row.get("unreadable", 0) + n_unreadable
    return row


def choose_latents(table: LatentTable, n: int) -> list[int]:
    """Return latents that are specific to a source first, then others by difference energy.

    Raises:
        NotApplicable: All latents are dead.
    """
    alive = table.query("not dead").frame
    if not len(alive):
        raise NotApplicable("no latent is active on the held-out tokens: there is nothing to label")
    by = "difference_energy" if "difference_energy" in alive else "density"
    ordered = alive.sort_values(by, ascending=False, kind="stable")
    if "verdict" in ordered:
        is_specific = ordered["verdict"].str.endswith("-specific")
        ordered = ordered.assign(is_specific=is_specific)
        ordered = ordered.sort_values("is_specific", ascending=False, kind="stable")
    return ordered["latent"].head(n).tolist()


def _read_saved_table(context: EvalContext) -> LatentTable:
    """Return the table that eval=diff saved, which names promoted tokens; else a new one."""
    path = (context.folder or Path()) / "results" / "latents.parquet"
    if context.folder is not None and path.is_file():
        table = LatentTable.load(path)
        if table.meta.get("crosscoder_sha256") == context.crosscoder_sha256:
            return context.judge(table)
    return context.latent_table


def _read_promoted(table: LatentTable) -> dict[int, list[str]]:
    """Return the tokens that each latent promotes, by the first lens that the table has."""
    for column in PROMOTED:
        if column in table.columns:
            promoted = {}
            for latent, tokens in zip(table["latent"], table[column], strict=True):
                promoted[int(latent)] = make_readable(list(tokens)) if len(tokens) else []
            return promoted
    return {}


def _name_file(folder: Path | None, latent: int) -> Path | None:
    return None if folder is None else folder / FOLDER / f"{latent}.json"


def _describe_score(test: str, verdicts: Verdicts, seed: int) -> Row:
    score, low, high = verdicts.score(seed)
    return {test: score, f"{test} low": low, f"{test} high": high}


def _make_result(table: LatentTable, rows: list[Row], meta: dict[str, Any]) -> Result:
    frame = table.frame.set_index("latent")
    measured = []
    for row in rows:
        if "verdict" in frame:
            row["verdict"] = str(frame.loc[row["latent"], "verdict"])
        scores = {f"label_score/{test}": row[test] for test in CHANCE if test in row}
        measured.append({"latent": row["latent"], "label": row["label"], **scores})
    scalars = {
        "n_labels": float(sum(bool(row["label"]) for row in rows)),
        "n_rare": float(meta["n_rare"]),
        "requests": float(meta.get("requests", 0)),
    }
    for test, chance in CHANCE.items():
        values = [row[test] for row in rows if np.isfinite(row.get(test, np.nan))]
        if values:
            scalars[test] = float(np.mean(values))
            scalars[f"{test}_chance"] = chance
    return Result("explain", scalars, {"labels": rows, TABLE: measured}, meta)
