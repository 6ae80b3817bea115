"""Ablate latents that were chosen on other questions: effect on the behaviour, side effects.

The ranking comes from the behaviour's training questions (the table's verdict and a contrast of
prompts), every figure from its held-out questions. Both models are edited: `kl_plain` is the
finetuned one's, `kl_plain_base` the other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from crosscoder.analysis.reading import mask_known_tokens
from crosscoder.analysis.spans import PROMPT_SPANS
from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.bootstrap import bootstrap_mean
from crosscoder.behaviours.questions import tabulate_answers
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.baselines import (
    match_latents,
    remove_mean_difference,
    remove_probe,
    select_last_tokens,
)
from crosscoder.evals.support.benchmark import contrast_training_prompts, open_benchmark
from crosscoder.evals.support.chosen import describe_latents
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.measurement import InterventionBenchmark, InterventionResult
from crosscoder.evals.support.rankings import RANKINGS, qualify
from crosscoder.evals.support.token_injection import count_triggered, inject_tokens
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.patch import patch
from crosscoder.interventions.splice import splice
from crosscoder.lm.log_probs import compute_in_chunks, compute_kl
from crosscoder.lm.scoring import batch_conversations, compute_final_states
from crosscoder.values import require_types

OURS = "candidates"  # the ranking whose first latents are the headline
Row = dict[str, Any]


@dataclass(frozen=True)
class AblationEval:
    """Effect and cost of ablating the first N latents, for each N of `headline`.

    Scalars: `removed@N`, `kl_plain@N` and so on. Those that are not defined are absent, e.g.
    `removed@N` if the models do not differ. Tables: the sweep, baselines and answers.

    Args:
        n_pairs: Number of pairs of prompts on which the latents are chosen.
        n_questions: Number of questions on which they are ablated.
        n_plain: Number of tokens of held-out documents on which the KL is measured.
        max_new_tokens: Longest answer, in tokens.
        sizes: Numbers of latents in the sweep, which measures log-probability differences. There is
            none if the questions have no answers.
        headline: Numbers of latents with which answers are generated.
    """

    n_pairs: int = 128
    n_questions: int = 32
    n_plain: int = 1024
    max_new_tokens: int = 64
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    headline: Sequence[int] = (2, 4, 8, 16)

    def __post_init__(self) -> None:
        require_types("eval.ablation", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: the edited model answers questions."""
        return True

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        limits = (self.n_questions, self.n_plain, self.max_new_tokens)
        with torch.no_grad(), open_benchmark(context, *limits) as benchmark:
            return self._evaluate(benchmark, context)

    def _evaluate(self, benchmark: InterventionBenchmark, context: EvalContext) -> Result:
        crosscoder = context.crosscoder
        behaviour = benchmark.behaviour
        name = behaviour.name
        table, prompts = contrast_training_prompts(context, benchmark, self.n_pairs)
        last_tokens = select_last_tokens(prompts)
        orders = {ranking: rank(table, name, context.seed) for ranking, rank in RANKINGS.items()}
        chosen = [int(latent) for latent in orders[OURS]]
        if not chosen:
            raise NotApplicable(
                "every latent is dead on the held-out tokens: there is nothing to ablate"
            )
        sweep = self._sweep(benchmark, crosscoder, orders) if benchmark.has_answers else []
        by_norm = orders["decoder norm"][: max(self.headline)].tolist()
        changes = self._make_changes(
            crosscoder, table, chosen, by_norm, last_tokens, benchmark.seed
        )
        results = benchmark.evaluate(changes)
        rows = {title: benchmark.make_row(result) for title, result in results.items()}
        solo = self._compare_solo(benchmark, crosscoder, chosen[: self.headline[-1]])
        scalars = self._make_scalars(benchmark, crosscoder, results, rows, chosen)
        scalars |= {f"solo/{key}": value for key, value in solo.items()}
        scalars["qualified"] = int(qualify(table, name).sum())
        used = chosen[: max(self.headline)]
        injections = inject_tokens(context, benchmark.pair, prompts, used)
        scalars["token_triggered"] = count_triggered(injections)
        tables = {
            "interventions": list(rows.values()),
            "margins": self._compare_with_baselines(benchmark, results),
            "sweep": sweep,
            "latents": describe_latents(table, name, injections),
            TABLE: [injection.make_columns() for injection in injections],
            PROMPT_SPANS: benchmark.list_spans(prompts),
            "answers": self._list_answers(benchmark, results),
        }
        meta = {
            "n_tokens": table.meta["n_tokens"],
            "n_questions": len(benchmark.questions),
            "groups": [behaviour.framing, behaviour.control],
            "split": {"choose": repr(behaviour.train), "measure": repr(behaviour.heldout)},
        }
        defined = {key: value for key, value in scalars.items() if isfinite(value)}
        not_empty = {title: rows for title, rows in tables.items() if rows}
        return Result("ablation", defined, not_empty, meta)

    def _sweep(
        self,
        benchmark: InterventionBenchmark,
        crosscoder: Crosscoder,
        orders: dict[str, np.ndarray],
    ) -> list[Row]:
        """Return log-probability differences by ranking and number of latents.

        The clean model's are beside them, for both framings.
        """
        rows = []

        def add_row(ranking: str, n: int, values: np.ndarray) -> None:
            average, low, high = bootstrap_mean(values, benchmark.seed)
            row = {"ranking": ranking, "latents": n, "contrast": average, "low": low, "high": high}
            rows.append(row)

        clean = benchmark.logprob_diff(None, benchmark.questions)
        control = benchmark.logprob_diff(None, benchmark.control_questions)
        add_row(f"{benchmark.edited_model}, {benchmark.control_group}", 0, control)
        for ranking, order in orders.items():
            add_row(ranking, 0, clean)
            for n in self.sizes:
                if n > len(order):
                    continue
                change = ablate(crosscoder, order[:n].tolist())
                add_row(ranking, n, benchmark.logprob_diff(change, benchmark.questions))
        return rows

    def _make_changes(
        self,
        crosscoder: Crosscoder,
        table: LatentTable,
        chosen: list[int],
        by_norm: list[int],
        last_tokens: tuple[Tensor, Tensor],
        seed: int,
    ) -> dict[str, Intervention]:
        """Return the ablations of the headline, and the interventions they are compared with."""
        changes = {}
        for n in self.headline:
            changes[f"ours@{n}"] = ablate(crosscoder, chosen[:n])
        for n in self.headline:
            others = match_latents(table, chosen[:n], seed + n)
            changes[f"random@{n}"] = ablate(crosscoder, others)
        changes[f"decoder norm@{max(self.headline)}"] = ablate(crosscoder, by_norm)
        first, second = last_tokens
        changes["mean difference"] = remove_mean_difference(crosscoder, first, second)
        changes["probe"] = remove_probe(crosscoder, first, second, seed)
        changes["splice, nothing ablated"] = splice(crosscoder)
        changes["base activations"] = patch(crosscoder, "none")
        return changes

    def _make_scalars(
        self,
        benchmark: InterventionBenchmark,
        crosscoder: Crosscoder,
        results: dict[str, InterventionResult],
        rows: dict[str, Row],
        chosen: list[int],
    ) -> dict[str, float]:
        scalars: dict[str, float] = {}
        ablations = [ablate(crosscoder, chosen[:n]) for n in self.headline]
        kls_base = benchmark.measure_plain_kls(ablations, benchmark.base_model)
        for n, kl_plain_base in zip(self.headline, kls_base, strict=True):
            ours = results[f"ours@{n}"]
            control_rise = float(ours.control_rise.mean())
            scalars[f"removed@{n}"] = rows[f"ours@{n}"]["removed"]
            scalars[f"removed_random@{n}"] = rows[f"random@{n}"]["removed"]
            scalars[f"kl_plain@{n}"] = ours.kl_plain
            scalars[f"kl_plain_base@{n}"] = kl_plain_base
            scalars[f"{benchmark.control_group}_nll_rise@{n}"] = control_rise
            scalars[f"coherence_nll_rise@{n}"] = float(ours.coherence_rise.mean())
        scalars["removed_mean_difference"] = rows["mean difference"]["removed"]
        scalars["removed_splice"] = rows["splice, nothing ablated"]["removed"]
        scalars["removed_base_activations"] = rows["base activations"]["removed"]
        return scalars

    def _compare_with_baselines(
        self, benchmark: InterventionBenchmark, results: dict[str, InterventionResult]
    ) -> list[Row]:
        """Return how many more answers stop showing the behaviour than under each baseline.

        Answers are compared question by question.
        """
        rows = []
        for n in self.headline:
            ours = results[f"ours@{n}"].shows
            others = [f"random@{n}"]
            if n == max(self.headline):
                others += ["mean difference", f"decoder norm@{n}"]
            for other in others:
                margin, low, high = bootstrap_mean(results[other].shows - ours, benchmark.seed)
                row = {"ours": f"ours@{n}", "over": other}
                rows.append(row | {"margin": margin, "low": low, "high": high})
        return rows

    def _compare_solo(
        self, benchmark: InterventionBenchmark, crosscoder: Crosscoder, latents: list[int]
    ) -> dict[str, float]:
        """Compare the code that is read from one model alone with the paired one.

        Returns:
            Cosine of the codes, KL(paired ‖ solo) under the ablation, and the fraction of the
            behaviour that the ablation by solo codes removes.
        """
        change = ablate(crosscoder, latents)
        prompts = [question.prompt for question in benchmark.questions]
        cosines = []
        reading = benchmark.pair.read(prompts, opening=True)
        known = reading.acts[mask_known_tokens(crosscoder, reading)]
        for acts in known.to(crosscoder.W_enc.device).split(2048):
            paired = crosscoder.encode(acts).to_dense()
            solo = crosscoder.encode(acts, mode="solo").to_dense()
            cosines.append(cosine_similarity(paired, solo))
        divergences = []
        for batch in batch_conversations(
            benchmark.pair.tokenizer, prompts, benchmark.clean_answers
        ):
            with benchmark.edit(change) as model:
                paired = compute_final_states(model, batch)
            with benchmark.edit(change, mode="solo") as model:
                solo = compute_final_states(model, batch)
            divergences.append(compute_in_chunks(model, compute_kl, hiddens=[paired, solo]))
        texts = benchmark.generate_answers(change, benchmark.questions, "solo", mode="solo")
        shows = benchmark.detect_behaviour(change, benchmark.questions, texts, mode="solo")
        removed, _, _ = benchmark.removed_fraction(shows)
        return {
            "cosine": float(torch.cat(cosines).mean()),
            "kl": float(torch.cat(divergences).mean()),
            "removed": removed,
        }

    def _list_answers(
        self, benchmark: InterventionBenchmark, results: dict[str, InterventionResult]
    ) -> list[Row]:
        """Return the answers side by side."""
        columns = {
            benchmark.base_model: benchmark.base_answers,
            benchmark.edited_model: benchmark.clean_answers,
            benchmark.control_group: benchmark.control_answers,
        }
        titles = [f"ours@{n}" for n in self.headline]
        titles += [f"random@{max(self.headline)}", "mean difference", "base activations"]
        for title in titles:
            columns[title] = results[title].answers
        return tabulate_answers(benchmark.questions, columns)
