"""Compare methods that say what a finetuning changed: crosscoders beside their rivals.

Every method gets the same held-out tokens and returns at most 20 pieces of evidence, the best one
first: latents, directions, tokens or contexts. They are scored alike, against the behaviour:

    found        rank of the first piece that tells held-out prompts in the framing from those in
                 the control (diffing/trigger.py)
    vocabulary   share of the planted words among what the pieces name (diffing/vocabulary.py)
    removed      share of the behaviour that is gone without the first pieces, beside the KL on
                 plain text (diffing/removal.py)

Without a behaviour there are only the lists. Methods that use labels are marked: they see which of
the behaviour's training prompts elicit it.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.diffing.comparison import (
    MethodReport,
    find_evidence,
    read_pieces,
    remove_pieces,
    score_triggers,
)
from crosscoder.evals.diffing.evidence import MAX_PIECES, Method
from crosscoder.evals.diffing.lenses import Lenses
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.tables import Row, list_evidence, list_methods, make_scalars
from crosscoder.evals.support.benchmark import open_benchmark
from crosscoder.evals.support.optional import OptionalSteps
from crosscoder.evals.support.plan import TrainsCrosscoders
from crosscoder.values import require_names, require_types, require_whole

Reports = dict[str, MethodReport]


@dataclass(frozen=True)
class MethodsEval:
    """Lists of several methods on the same tokens, and what they say about the behaviour.

    Scalars by method: `found/<method>` (absent if nothing is found), `auroc/<method>`,
    `vocabulary/<method>`, `removed@N/<method>`, `kl_plain@N/<method>` and so on. Tables: `methods`,
    `evidence` with every piece, and `removal`.

    Args:
        methods: The methods by name.
        causal: Names of the methods whose first pieces are removed, which takes most of the time.
        sizes: Numbers of pieces that are removed together.
        n_questions: Number of ids of held-out questions.
        n_plain: Number of tokens of held-out documents on which the KL is measured.
        max_new_tokens: Longest answer, in tokens.
        n_tokens: Number of held-out tokens on which the models' predictions are compared.
        context_length: Largest number of tokens of a context.
        least_count: Occurrences in the activations at hand (training, validation and held-out
            tokens) from which a token may be named. 0: every token may be named.
        jacobian_contexts: Number of held-out contexts over which the Jacobian lens is averaged; 0:
            there is no Jacobian lens.
        n_pairs: Number of pairs of training prompts that methods with labels see.
        n_shuffles: Number of shuffles of the labels, for the chance level.
    """

    methods: Mapping[str, Method]
    causal: Sequence[str] = ()
    sizes: Sequence[int] = (1, 4, 16)
    n_questions: int = 32
    n_plain: int = 1024
    max_new_tokens: int = 64
    n_tokens: int = 2048
    context_length: int = 32
    least_count: int = 5
    jacobian_contexts: int = 200
    n_pairs: int = 64
    n_shuffles: int = 200

    def __post_init__(self) -> None:
        require_types("eval.methods", self)
        for name in ("n_questions", "n_tokens", "context_length", "n_pairs", "n_shuffles"):
            require_whole(f"eval.methods.{name}", getattr(self, name))
        if self.causal:
            require_names("eval.methods.causal", self.causal, self.methods)
            for size in self.sizes:
                require_whole("a size of eval.methods.sizes", size, most=MAX_PIECES)

    def needs_models(self, context: EvalContext) -> bool:
        """Return whether there are models, for their predictions and the questions."""
        return context.pair is not None

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> list[int]:
        """Return the training tokens of the dictionaries that methods train."""
        tokens: list[int] = []
        for method in self.methods.values():
            if isinstance(method, TrainsCrosscoders):
                tokens += method.count_training_tokens(context, own_tokens)
        return tokens

    @torch.no_grad()
    def __call__(self, context: EvalContext) -> Result:
        """Compare the methods on the crosscoder's models and tokens."""
        material = Material(
            context, self.n_tokens, self.context_length, self.least_count, self.n_pairs
        )
        compared = material.diff_pair  # refuses a crosscoder that compares nothing
        steps = OptionalSteps()
        figures: dict[str, float] = {}
        removal: list[Row] = []
        loaded = context.pair.keep_all_loaded() if context.pair is not None else nullcontext()
        with loaded:
            reports = find_evidence(self.methods, material, steps)
            steps.attempt("lenses", partial(self._read_pieces, material, reports))
            if context.behaviour is not None:
                measure = partial(self._measure_behaviour, material, reports, figures, removal)
                steps.attempt("behaviour", measure)
        methods = list_methods(reports)
        tables = {"methods": methods, "evidence": list_evidence(reports), "removal": removal}
        return Result(
            "methods",
            make_scalars(methods) | figures,
            {name: rows for name, rows in tables.items() if rows},
            self._describe(context, compared, steps),
            errors=steps.errors,
        )

    def _read_pieces(self, material: Material, reports: Reports) -> None:
        """Read what the pieces name, and compare it with the planted vocabulary."""
        lenses = Lenses.load(material, self.jacobian_contexts)
        behaviour = material.context.behaviour
        planted = behaviour.planted if behaviour is not None else None
        read_pieces(reports, lenses, planted.vocabulary if planted is not None else ())

    def _measure_behaviour(
        self,
        material: Material,
        reports: Reports,
        figures: dict[str, float],
        removal: list[Row],
    ) -> None:
        """Score the pieces on held-out prompts, and remove the first ones.

        Args:
            material: The models and the tokens.
            reports: The evidence, to which the scores are added.
            figures: Scalars that are no method's, which are added here.
            removal: Rows of the table of removals, which are added here.
        """
        limits = (self.n_questions, self.n_plain, self.max_new_tokens)
        with open_benchmark(material.context, *limits) as benchmark:
            figures |= score_triggers(reports, material, benchmark, self.n_shuffles)
            if self.causal:
                chosen = {name: reports[name] for name in self.causal if name in reports}
                rows, clean = remove_pieces(chosen, material, benchmark, self.sizes)
                removal += rows
                figures |= clean

    def _describe(
        self, context: EvalContext, compared: Sequence[str], steps: OptionalSteps
    ) -> dict[str, Any]:
        """Return the meta of the result."""
        meta: dict[str, Any] = {"contrast": list(compared), "n_tokens": self.n_tokens}
        behaviour = context.behaviour
        if behaviour is not None:
            meta["n_questions"] = self.n_questions
            meta["behaviour"] = behaviour.name
            meta["groups"] = [behaviour.framing, behaviour.control]
            if behaviour.planted is not None:
                planted = behaviour.planted
                meta["planted"] = {
                    "description": planted.description,
                    "vocabulary": list(planted.vocabulary),
                }
        if steps.reasons:
            meta["left_out"] = steps.reasons
        return meta
