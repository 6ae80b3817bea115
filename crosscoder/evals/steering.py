"""Steer with the latents that the ablation eval removes: the chat model and the base model.

Both are asked in the control framing. The direction is Σ_j c_j d_j^chat, where c_j says how much
more active latent j is on the prompts that show the behaviour. It is added at every token of prompt
and answer, in units of the median residual norm, with both signs: positive doses alone hide an
effect of the other sign (support/best_doses.py). Beside the behaviour stands its cost (coherence):
the answers' negative log-likelihood under the unedited base model, which stays low as long as a
model writes text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from crosscoder.analysis.spans import PROMPT_SPANS, PairedReading
from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.questions import tabulate_answers
from crosscoder.core.model import Crosscoder
from crosscoder.data.normalization import measure_median_norms
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.baselines import select_last_tokens
from crosscoder.evals.support.benchmark import contrast_training_prompts, open_benchmark
from crosscoder.evals.support.chosen import describe_latents
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.evals.support.rankings import rank_candidates
from crosscoder.evals.support.steered import (
    Arm,
    Row,
    SteeredModels,
    draw_directions,
    list_doses,
    name_dose,
)
from crosscoder.evals.support.steering_effects import (
    list_effects,
    make_scalars,
    summarise_draws,
)
from crosscoder.evals.support.token_injection import inject_tokens
from crosscoder.interventions.steer import combine_decoders
from crosscoder.values import require_number, require_types

OURS = "latents"  # the direction that answers are generated with


@dataclass(frozen=True)
class SteeringEval:
    """Dose and response of steering, with both signs, beside random directions.

    Tables: `dose` (by model, direction and strength), `arms` (the largest effect of each direction
    and its sign), `random` (the same of every random direction), `latents` and `answers`. Scalars
    are of the latents' direction: the coherent dose that changes the rate most, and the largest
    change of the log-probability difference.

    Random directions are measured by the log-probability difference at all doses. If the questions
    have no answers, some of them answer at the middle strength.

    Args:
        n_pairs: Number of pairs of prompts on which the latents are chosen.
        n_questions: Number of questions, which are asked in the control framing.
        max_new_tokens: Longest answer, in tokens.
        n_latents: Number of latents in the direction.
        strengths: Strengths in units of the median residual norm, above 0; each is measured with
            both signs.
        coherent: Largest rise of an answer's negative log-likelihood, in nats per token, at which
            it counts as coherent.
        n_random: Number of random directions of each kind: of matched latents, and any.
        n_random_answering: Number of them that answer if the questions have no answers.
    """

    n_pairs: int = 128
    n_questions: int = 32
    max_new_tokens: int = 64
    n_latents: int = 8
    strengths: Sequence[float] = (0.05, 0.1, 0.2)
    coherent: float = 0.5
    n_random: int = 10
    n_random_answering: int = 2

    def __post_init__(self) -> None:
        is_list = isinstance(self.strengths, Sequence) and not isinstance(self.strengths, str)
        if not is_list or not self.strengths:
            raise UserError(
                "eval.steering.strengths is a list of numbers above 0, e.g. [0.05, 0.1], "
                f"not {self.strengths!r:.80}"
            )
        for strength in self.strengths:
            require_number("a strength of eval.steering (both signs are run)", strength, above=0)
        require_types("eval.steering", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: the steered models answer questions."""
        return True

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        # no KL is measured on plain text
        limits = (self.n_questions, None, self.max_new_tokens)
        with torch.no_grad(), open_benchmark(context, *limits) as benchmark:
            return self._evaluate(benchmark, context)

    def _evaluate(self, benchmark: InterventionBenchmark, context: EvalContext) -> Result:
        crosscoder = context.crosscoder
        column = benchmark.behaviour.name
        table, prompts = contrast_training_prompts(context, benchmark, self.n_pairs)
        latents = [int(latent) for latent in rank_candidates(table, column)[: self.n_latents]]
        if not latents:
            raise NotApplicable(
                "every latent is dead on the held-out tokens: there is nothing to steer with"
            )
        weights = table.frame.set_index("latent")[column].loc[latents].tolist()
        arms = self._make_arms(crosscoder, prompts, latents, weights, benchmark.has_answers)
        arms += self._draw_arms(context, table, latents, weights, benchmark.has_answers)
        norms = measure_median_norms(context.heldout, crosscoder.sources)
        steered = SteeredModels(benchmark, crosscoder, norms)
        rows, replies = self._measure(steered, arms)
        injections = inject_tokens(context, benchmark.pair, prompts, latents)
        effects, random_effects = list_effects(rows, self.coherent)
        tables: dict[str, list[Row]] = {
            "arms": effects,
            "dose": [row for row in rows if "draw" not in row] + summarise_draws(rows),
            "random": random_effects,
            "latents": describe_latents(table, column, injections),
            TABLE: [injection.make_columns() for injection in injections],
            PROMPT_SPANS: benchmark.list_spans(prompts),
            "answers": tabulate_answers(benchmark.control_questions, replies),
        }
        meta = {
            "n_tokens": table.meta["n_tokens"],
            "n_questions": len(benchmark.control_questions),
            "asked as": benchmark.control_group,
            "latents": latents,
            "median_norms": norms,
        }
        return Result("steering", make_scalars(rows, effects, OURS), tables, meta)

    def _measure(
        self, steered: SteeredModels, arms: Sequence[Arm]
    ) -> tuple[list[Row], dict[str, list[str]]]:
        """Return what is measured of both models, and the answers of our direction by dose.

        Without an edit all directions are the same: our direction has that row.
        """
        benchmark = steered.benchmark
        rows: list[Row] = []
        replies: dict[str, list[str]] = {}
        ours, *others = arms
        arms = [replace(ours, doses=sorted([0.0, *ours.doses])), *others]
        for model in (benchmark.edited_model, benchmark.base_model):
            for row, texts in steered.measure_all(model, arms):
                rows.append(row)
                if row["direction"] == OURS:
                    replies[name_dose(model, OURS, row["strength"])] = texts
        return rows, replies

    # --- directions ---

    def _make_arms(
        self,
        crosscoder: Crosscoder,
        prompts: PairedReading,
        latents: list[int],
        weights: list[float],
        has_answers: bool,
    ) -> list[Arm]:
        """Return the direction of the latents, and the mean difference of the prompts.

        Without answers to compare, both generate some.
        """
        doses = list_doses(self.strengths)
        first, second = select_last_tokens(prompts)
        chat = crosscoder.sources.primary
        difference = (first.mean(0) - second.mean(0))[crosscoder.sources.slice(chat)]
        ours = combine_decoders(crosscoder, latents, weights)
        return [
            Arm(OURS, ours, doses, is_answering=True),
            Arm("mean difference", difference, doses, is_answering=not has_answers),
        ]

    def _draw_arms(
        self,
        context: EvalContext,
        table: LatentTable,
        latents: list[int],
        weights: list[float],
        has_answers: bool,
    ) -> list[Arm]:
        """Return the random directions."""
        doses = list_doses(self.strengths)
        n = self.n_random
        if not has_answers:
            sizes = sorted(self.strengths)
            doses = list_doses([sizes[len(sizes) // 2]])
            n = min(n, self.n_random_answering)
        drawn = draw_directions(context.crosscoder, table, latents, weights, n, context.seed)
        arms = []
        for name, directions in drawn.items():
            for draw, direction in enumerate(directions):
                arms.append(Arm(name, direction, doses, is_answering=not has_answers, draw=draw))
        return arms
