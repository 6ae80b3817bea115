"""Score texts without sampling: log-probabilities of an answer's tokens.

In an answer to a chat, the token that ends the turn is scored as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosscoder.core.types import Kind
from crosscoder.lm.chat.document import Document
from crosscoder.lm.head import get_logits
from crosscoder.lm.hooks import run_decoder
from crosscoder.lm.loading.checks import require_logits
from crosscoder.lm.log_probs import compute_in_chunks, pick_log_probs
from crosscoder.lm.text import encode_text, get_stop_id, tokenize
from crosscoder.lm.types import PreTrainedModel, Tokenizer

BATCH_SIZE = 32


@dataclass(frozen=True)
class Conversation:
    """A prompt and its answer as tokens.

    Args:
        number: Its number among all conversations.
        prompt: Ids of the prompt.
        prompt_kinds: Their kinds (see Kind).
        answer: Ids of the answer, or of its first few tokens.
    """

    number: int
    prompt: list[int]
    prompt_kinds: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.answer

    @property
    def kinds(self) -> list[int]:
        return self.prompt_kinds + [Kind.CHAT] * len(self.answer)

    @property
    def predicting(self) -> range:
        """Positions that predict a token of the answer."""
        return range(len(self.prompt) - 1, len(self.ids) - 1)


@dataclass(frozen=True)
class ScoredBatch:
    """A batch of conversations, and the positions at which it is scored.

    Args:
        ids: Token ids, padded on the right, [batch, time].
        kinds: Kinds of tokens (see Kind); padding is special.
        rows: Row of each position that predicts a scored token.
        columns: Column of each such position.
        conversations: Number of the conversation, among all of them, of each such position.
    """

    ids: Int[Tensor, "batch time"]
    kinds: Int[Tensor, "batch time"]
    rows: Int[Tensor, "scored"]
    columns: Int[Tensor, "scored"]
    conversations: Int[Tensor, "scored"]

    @classmethod
    def from_conversations(cls, conversations: Sequence[Conversation]) -> "ScoredBatch":
        """Pad conversations to one length and list their scored positions."""
        ids = [torch.tensor(conversation.ids) for conversation in conversations]
        kinds = [torch.tensor(conversation.kinds) for conversation in conversations]
        rows: list[int] = []
        columns: list[int] = []
        numbers: list[int] = []
        for row, conversation in enumerate(conversations):
            for column in conversation.predicting:
                rows.append(row)
                columns.append(column)
                numbers.append(conversation.number)
        return cls(
            pad_sequence(ids, batch_first=True),
            pad_sequence(kinds, batch_first=True, padding_value=Kind.SPECIAL),
            torch.tensor(rows, dtype=torch.int64),
            torch.tensor(columns, dtype=torch.int64),
            torch.tensor(numbers, dtype=torch.int64),
        )

    @property
    def targets(self) -> Int[Tensor, "scored"]:
        """The tokens that are predicted."""
        return self.ids[self.rows, self.columns + 1]


def batch_conversations(
    tokenizer: Tokenizer,
    prompts: Sequence[Document],
    answers: Sequence[str],
    first: int | None = None,
) -> Iterator[ScoredBatch]:
    """Yield batches of conversations of similar length, scored on the tokens of the answers.

    Args:
        tokenizer: The tokenizer.
        prompts: Texts or chats.
        answers: One answer for each prompt.
        first: Number of tokens of each answer that are scored; None scores all.
    """
    conversations = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids, kinds = tokenize(tokenizer, prompt, opening=True)
        tokens = tokenize_answer(tokenizer, prompt, answer)[:first]
        conversations.append(Conversation(number, ids, kinds, tokens))
    conversations.sort(key=lambda conversation: len(conversation.ids))
    for start in range(0, len(conversations), BATCH_SIZE):
        yield ScoredBatch.from_conversations(conversations[start : start + BATCH_SIZE])


def tokenize_answer(tokenizer: Tokenizer, prompt: Document, answer: str) -> list[int]:
    """Return an answer's tokens; in a chat the last one ends the turn."""
    ids = encode_text(tokenizer, answer)
    return ids if isinstance(prompt, str) else [*ids, get_stop_id(tokenizer)]


@torch.no_grad()
def compute_final_states(
    model: PreTrainedModel, batch: ScoredBatch
) -> Float[Tensor, "scored d_model"]:
    """Return final hidden states at the scored positions.

    Causal attention does not see the padding on the right.
    """
    ids = batch.ids.to(model.device)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    out = run_decoder(model, ids, positions)
    return out[batch.rows.to(ids.device), batch.columns.to(ids.device)]


def score_answers(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Document],
    answers: Sequence[str],
    first: int | None = None,
) -> list[Float[Tensor, "answer"]]:
    """Return log p of every token of each answer.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompts: Texts or chats.
        answers: One answer for each prompt.
        first: Number of tokens of each answer that are scored; None scores all.
    """
    scores = [torch.zeros(0, dtype=torch.float64) for _ in prompts]
    for batch in batch_conversations(tokenizer, prompts, answers, first):
        hidden = compute_final_states(model, batch)
        values = compute_in_chunks(model, pick_log_probs, [hidden], batch.targets)
        for number in batch.conversations.unique().tolist():
            scores[number] = values[batch.conversations == number]
    return scores


@torch.no_grad()
def compute_next_logits(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Document],
    candidates: Int[Tensor, "prompts candidates"],
) -> Float[Tensor, "prompts candidates"]:
    """Return logits of candidate tokens right after each prompt.

    They are log p plus a number that the candidates of a prompt share. Leaving it out spares the
    logits of all other tokens.
    """
    require_logits(model)
    ids, columns = candidates.unique(return_inverse=True)
    logits = torch.zeros(candidates.shape, dtype=torch.float64)
    # any answer will do, because the position before it does not see it
    for batch in batch_conversations(tokenizer, prompts, ["?"] * len(prompts), first=1):
        found = get_logits(model, compute_final_states(model, batch), ids)
        numbers = batch.conversations
        logits[numbers] = found.double().cpu().gather(1, columns[numbers])
    return logits
