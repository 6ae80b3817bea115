"""The finetuned model's own answers, on which patches of both models are measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from crosscoder.behaviours.questions import Question
from crosscoder.core.intervention import Intervention
from crosscoder.core.types import Kind
from crosscoder.lm import Pair
from crosscoder.lm.answering import generate_answers
from crosscoder.lm.editing.positions import PositionRule, TokenHistory
from crosscoder.lm.log_probs import compute_kls_in_chunks
from crosscoder.lm.scoring import ScoredBatch, batch_conversations, compute_final_states
from crosscoder.runtime.progress import progress


@dataclass(frozen=True)
class Patch:
    """A patch of one model.

    Args:
        name: Its name in tables.
        change: The intervention.
        spares_template: True leaves the template's and special tokens as they are.
    """

    name: str
    change: Intervention
    spares_template: bool = False


class OwnAnswers:
    """Greedy answers of the finetuned model to questions, and what it predicts on them.

    Args:
        pair: The language models.
        chat: Name of the finetuned model.
        questions: The questions.
        max_new_tokens: Longest answer.
    """

    def __init__(
        self, pair: Pair, chat: str, questions: Sequence[Question], max_new_tokens: int
    ) -> None:
        self.pair = pair
        self.chat = chat
        self.n_questions = len(questions)
        prompts = [question.prompt for question in questions]
        title = f"{chat}'s own answers"
        own = generate_answers(pair[chat], pair.tokenizer, prompts, max_new_tokens, title)
        self.batches = list(batch_conversations(pair.tokenizer, prompts, own))
        self.clean = [compute_final_states(pair[chat], batch) for batch in self.batches]

    def measure_kls(self, lm: str, patches: Sequence[Patch]) -> dict[str, list[Tensor]]:
        """Measure KL(chat ‖ patched) at every token of an answer.

        Args:
            lm: Name of the model that is patched.
            patches: The patches.

        Returns:
            By patch one tensor [answer's tokens] per question.
        """
        by_question: list[Tensor] = [torch.zeros(0)] * self.n_questions
        with progress("patched batches") as bar:
            total = len(self.batches) * len(patches)
            task = bar.add_task(f"patch {lm}", total=total, note="")
            for batch, clean in zip(self.batches, self.clean, strict=True):
                hiddens = []
                for patch in patches:
                    hiddens.append(self._run_patched(lm, patch, batch))
                    bar.advance(task)
                kls = compute_kls_in_chunks(self.pair[self.chat], clean, self.pair[lm], hiddens)
                for number in batch.conversations.unique().tolist():
                    by_question[number] = kls[:, batch.conversations == number]
        found = {}
        for row, patch in enumerate(patches):
            found[patch.name] = [kls[row] for kls in by_question]
        return found

    def _run_patched(self, lm: str, patch: Patch, batch: ScoredBatch) -> Tensor:
        """Return the patched model's final hidden states, [scored, d_model]."""
        positions = _select_words(batch) if patch.spares_template else "all"
        with self.pair.edit(lm, patch.change, positions=positions) as model:
            return compute_final_states(model, batch)


def _select_words(batch: ScoredBatch) -> PositionRule:
    """Return a rule that selects all tokens but the template's and special ones."""

    def rule(seen: TokenHistory) -> Bool[Tensor, "batch time"]:
        kinds = batch.kinds.to(seen.ids.device)
        return (kinds == Kind.CHAT) | (kinds == Kind.PLAIN)

    return rule
