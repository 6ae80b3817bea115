"""How much of the way from base to chat the latents carry: the published causality experiment (Minder, Dumas et al. 2025).

The chat model's activation is rebuilt from the base's and some latents, h_S = h_base + Σ_{j∈S} f_j (d_j^chat − d_j^base), and the
chat model goes on from there: KL(chat ‖ patched) on the tokens of its own answers, and on their first nine. none is the base's
activation, all is every latent, error what no latent explains, template chat's own activation on the template's tokens only.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from crosscoder.behaviour.bootstrap import interval
from crosscoder.behaviour.questions import Question
from crosscoder.diff.analysis import Analysis
from crosscoder.diff.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.trial import askable
from crosscoder.interventions.base import Intervention
from crosscoder.interventions.patch import patch
from crosscoder.lm import Pair
from crosscoder.lm.answering import answers
from crosscoder.lm.scoring import Scored, by_token, conversations, divergence, hidden
from crosscoder.lm.where import Rule, Seen
from crosscoder.memory import kept
from crosscoder.model import Crosscoder
from crosscoder.types import Kind

FIRST = 9
RANKINGS = {
    "difference energy": ("difference_energy", False),
    "Δ": ("delta_norm", False),
    "ν^ε": ("nu/error/{first}", True),
    "ν^r": ("nu/reconstruction/{first}", True),
}


@dataclass(frozen=True)
class PatchingEval:
    """Scalars `kl/<patch>` and `kl_first9/<patch>` in nats per token; a table with halves by several rankings.

    Args:
        analysis: makes the table by which latents are ranked.
        questions: rows for `behaviour.questions`; the chat model's own greedy answers to them are scored.
        n_questions: how many ids, each in every group.
        n_random: how many random halves.
        max_new_tokens: of an answer.
    """

    analysis: Analysis
    questions: Iterable[Any]
    n_questions: int = 16
    n_random: int = 2
    max_new_tokens: int = 48

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Result:
        crosscoder, pair = subject.crosscoder, subject.pair
        if pair is None or crosscoder.sources.comparable is None:
            raise NotApplicable("patching needs two language models of equal width that are contrasted")
        start, table = time.perf_counter(), self.analysis(crosscoder, subject.heldout)
        asked = askable(pair, self.questions, self.n_questions)
        with pair.together(), kept():
            run = Patched(pair, crosscoder, asked, self.max_new_tokens)
            whole = {name: run(patch(crosscoder, name)) for name in ("none", "all", "error")}
            whole["template"] = run(patch(crosscoder, "none"), template=False)
            parts = {name: run(patch(crosscoder, latents)) for name, latents in self._halves(table, subject.seed)}
        rows = [_row(name, kl, whole["none"], subject.seed) for name, kl in (whole | parts).items()]
        scalars = {f"kl/{row['patch']}": row["KL"] for row in rows[: len(whole)]}
        scalars |= {f"kl_first{FIRST}/{row['patch']}": row[f"KL first {FIRST}"] for row in rows[: len(whole)]}
        meta = {
            "n_tokens": int(sum(len(kl) for kl in whole["none"])),
            "n_answers": len(asked),
            "live": int((~table["dead"]).sum()),
            "seed": subject.seed,
            "seconds": time.perf_counter() - start,
        }
        return Result("patching", scalars, {"patches": rows}, meta)

    def _halves(self, table: LatentTable, seed: int) -> list[tuple[str, list[int]]]:
        """The live latents in two halves by each ranking, and at random."""
        alive = table.query("not dead")
        half, first = len(alive) // 2, table.meta["contrast"][0]
        halves: list[tuple[str, list[int]]] = []
        for name, (column, ascending) in RANKINGS.items():
            if (column := column.format(first=first)) in alive.columns:
                order = [int(latent) for latent in alive.sort(column, ascending)["latent"]]
                halves += [(f"top half by {name}", order[:half]), (f"bottom half by {name}", order[half:])]
        for draw in range(self.n_random):
            order = np.random.default_rng((seed, draw)).permutation(alive["latent"])
            halves.append((f"random half {draw + 1}", [int(latent) for latent in order[:half]]))
        return halves


class Patched:
    """KL(chat ‖ patched) on the chat model's own answers, one tensor [answer's tokens] per question."""

    def __init__(self, pair: Pair, crosscoder: Crosscoder, asked: Sequence[Question], max_new_tokens: int) -> None:
        assert crosscoder.sources.contrast
        self.pair, self.chat = pair, crosscoder.sources[crosscoder.sources.contrast[0]].lm
        prompts = [question.prompt for question in asked]
        own = answers(pair[self.chat], pair.tokenizer, prompts, max_new_tokens, f"{self.chat}'s own answers")
        self.n, self.batches = len(asked), list(conversations(pair.tokenizer, prompts, own))
        self.clean = [hidden(pair[self.chat], batch) for batch in self.batches]

    def __call__(self, change: Intervention, template: bool = True) -> list[Tensor]:
        """Patched everywhere, or everywhere but on the template's tokens, which then stay chat's own."""
        found: dict[int, Tensor] = {}
        for batch, clean in zip(self.batches, self.clean, strict=True):
            where = "all" if template else _words(batch)
            with self.pair.edit(self.chat, change, positions=where) as model:
                kl = by_token(model, divergence, hiddens=[clean, hidden(model, batch)])
            found |= {number: kl[batch.numbers == number] for number in batch.numbers.unique().tolist()}
        return [found[number] for number in range(self.n)]


def _words(batch: Scored) -> Rule:
    """Every token but the template's and special ones."""

    def rule(seen: Seen) -> Bool[Tensor, "batch time"]:
        kinds = batch.kinds.to(seen.ids.device)
        return (kinds == Kind.CHAT) | (kinds == Kind.PLAIN)

    return rule


def _row(name: str, kl: list[Tensor], none: list[Tensor], seed: int) -> dict[str, Any]:
    """Mean KL over tokens, all and the first few, each with its interval over answers and what it cuts of `none`."""
    row: dict[str, Any] = {"patch": name}
    for title, first in (("KL", None), (f"KL first {FIRST}", FIRST)):
        sums, counts, all_of_it = _sums(kl, first), _counts(kl, first), _sums(none, first)
        low, high = interval(lambda x, n: x.sum(-1) / n.sum(-1), sums, counts, seed=seed)
        row |= {title: float(sums.sum() / counts.sum()), f"{title} low": low, f"{title} high": high}
        row[f"{title} cut"] = 1 - float(sums.sum() / all_of_it.sum())
    return row


def _sums(kl: list[Tensor], first: int | None) -> np.ndarray:
    return np.array([float(values[:first].sum()) for values in kl])


def _counts(kl: list[Tensor], first: int | None) -> np.ndarray:
    return np.array([float(len(values[:first])) for values in kl])
