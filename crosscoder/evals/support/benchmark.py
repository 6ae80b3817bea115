"""The questions of a behaviour in two framings, on which interventions are measured."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from crosscoder.analysis.columns.prompts import PromptContrast
from crosscoder.analysis.spans import PairedReading
from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.questions import Question
from crosscoder.behaviours.spec import BehaviourSpec, Split
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.heldout import PlainText
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.lm import Pair


@contextmanager
def open_benchmark(
    context: EvalContext, n_questions: int, n_plain: int | None, max_new_tokens: int
) -> Iterator[InterventionBenchmark]:
    """Yield the benchmark of a behaviour, whose models stay in memory until it is closed.

    Args:
        context: The context of the eval.
        n_questions: Number of ids of held-out questions.
        n_plain: Number of tokens of held-out documents on which the KL is measured; None if it is
            not measured.
        max_new_tokens: Longest answer, in tokens.

    Raises:
        NotApplicable: There is no behaviour, the crosscoder has no language models, no two sources
            to compare, or its models have no chat template.
        UserError: The questions are not the same in both framings.
    """
    user = "an intervention"
    pair = context.require_models(user)
    behaviour = context.require_behaviour(user)
    sources = context.crosscoder.sources
    if sources.comparable is None:
        raise NotApplicable(
            f"an intervention needs two compared sources of equal width, found {sources.describe()}"
        )
    edited_model, base_model = (sources[name].lm for name in sources.comparable)
    shown, control = behaviour.load_framings("heldout", n_questions)
    require_chat_template(pair, shown)
    plain = None
    if n_plain is not None:
        plain = PlainText.from_store(context.heldout, n_plain)
    with pair.reuse_clean_passes():
        yield InterventionBenchmark(
            pair,
            edited_model,
            base_model,
            shown,
            control,
            behaviour,
            plain,
            max_new_tokens,
            context.seed,
        )


def make_contrast(behaviour: BehaviourSpec, split: Split, n_pairs: int | None) -> PromptContrast:
    """Return the contrast of the framing that elicits a behaviour and its control.

    Args:
        behaviour: The behaviour.
        split: Split of the questions.
        n_pairs: Number of pairs of prompts, evenly spaced; None means all.
    """
    return PromptContrast(behaviour.make_prompt_pairs(split), behaviour.name, n_pairs)


def contrast_training_prompts(
    context: EvalContext, benchmark: InterventionBenchmark, n_pairs: int
) -> tuple[LatentTable, PairedReading]:
    """Contrast the behaviour's training prompts, on which interventions choose their latents.

    Returns:
        The table of latents with the columns of the contrast, and the prompts in the framing and in
        the control.
    """
    crosscoder = context.crosscoder
    contrast = make_contrast(benchmark.behaviour, "train", n_pairs)
    prompts = contrast.read(crosscoder, benchmark.pair)
    table = context.latent_table.with_columns(contrast.columns(crosscoder, prompts))
    return table, prompts


def require_chat_template(pair: Pair, questions: Iterable[Question]) -> None:
    """Check that models can be asked these questions.

    Raises:
        NotApplicable: The questions are chats and no tokenizer has a chat template.
    """
    has_chats = any(not isinstance(question.prompt, str) for question in questions)
    if has_chats and not pair.tokenizer.chat_template:
        raise NotApplicable(
            "the questions are chats, and neither model's tokenizer has a chat template"
        )
