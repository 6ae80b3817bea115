"""Generate greedy answers to prompts, in batches padded on the left."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.errors import UserError, describe_foreign
from crosscoder.lm.chat.document import Document
from crosscoder.lm.loading.checks import measure_basics
from crosscoder.lm.loading.vocabulary import count_ids
from crosscoder.lm.text import get_stop_id, tokenize
from crosscoder.lm.types import PreTrainedModel, Tokenizer
from crosscoder.runtime.progress import progress

BATCH_SIZE = 96  # every step reads all weights, however many answers it decodes


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of similar length, each up to the point where the model answers.

    Args:
        numbers: The numbers of the prompts.
        ids: Token ids, padded on the left, [batch, time].
        lengths: Number of tokens of each prompt.
    """

    numbers: list[int]
    ids: Int[Tensor, "batch time"]
    lengths: Int[Tensor, "batch"]

    @property
    def mask(self) -> Int[Tensor, "batch time"]:
        """1 for tokens of the prompt, 0 for padding."""
        from_end = torch.arange(self.ids.shape[1], 0, -1)
        return (from_end <= self.lengths[:, None]).long()

    def repeat(self, n: int) -> "PromptBatch":
        """Return a batch of n blocks, each of which holds all prompts."""
        return PromptBatch(self.numbers * n, self.ids.repeat(n, 1), self.lengths.repeat(n))


@torch.no_grad()
def generate_answers(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Document],
    max_new_tokens: int = 64,
    title: str = "answers",
) -> list[str]:
    """Generate a greedy answer to each prompt, up to its end of turn.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompts: Chats, or plain texts that the model continues.
        max_new_tokens: Longest answer, in tokens.
        title: Name of the work in the progress bar.

    Raises:
        UserError: The model's settings ask for what generation cannot do.
    """
    (answers,) = generate_in_blocks(model, tokenizer, prompts, 1, max_new_tokens, title)
    return answers


@torch.no_grad()
def generate_in_blocks(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Document],
    n_blocks: int,
    max_new_tokens: int = 64,
    title: str = "answers",
) -> list[list[str]]:
    """Generate several answers to each prompt, in batches whose rows are blocks of all prompts.

    They differ if an edit acts differently on each block (see `Pair.edit`).

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompts: Chats, or plain texts that the model continues.
        n_blocks: Number of blocks.
        max_new_tokens: Longest answer, in tokens.
        title: Name of the work in the progress bar.

    Returns:
        One list per block, with one answer per prompt.

    Raises:
        UserError: The model's settings ask for what generation cannot do.
    """
    pad_id = choose_pad_id(tokenizer, count_ids(model))
    is_paddable = measure_basics(model).is_left_paddable
    answers = [[""] * len(prompts) for _ in range(n_blocks)]
    with progress("answers") as bar, contiguous_head_input(model):
        task = bar.add_task(title, total=n_blocks * len(prompts), note="")
        for batch in batch_prompts(tokenizer, prompts, pad_id, is_paddable):
            blocks = batch.repeat(n_blocks)
            texts = _generate_batch(model, tokenizer, blocks, max_new_tokens, pad_id)
            for row, (number, text) in enumerate(zip(blocks.numbers, texts, strict=True)):
                answers[row // len(batch.numbers)][number] = text
            bar.update(task, advance=len(texts))
    return answers


@contextmanager
def contiguous_head_input(model: PreTrainedModel) -> Iterator[None]:
    """Context manager: copy what `generate` passes to the head into contiguous memory.

    After the prompt it passes a strided slice. In bf16, torch then copies the head once per row.
    """
    head = cast(Any, model).get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, hidden: (hidden[0].contiguous(),))
    try:
        yield
    finally:
        handle.remove()


def _generate_batch(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    batch: PromptBatch,
    max_new_tokens: int,
    pad_id: int,
) -> list[str]:
    try:
        out = cast(Any, model).generate(
            input_ids=batch.ids.to(model.device),
            attention_mask=batch.mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=get_stop_id(tokenizer),
            pad_token_id=pad_id,
        )
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # a model's settings can be anything
        raise UserError(
            f"the model does not generate with its own settings: {describe_foreign(error)}"
        ) from error
    texts = tokenizer.batch_decode(out[:, batch.ids.shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def choose_pad_id(tokenizer: Tokenizer, n_ids: int) -> int:
    """Choose the id that fills rows up.

    Args:
        tokenizer: The tokenizer, whose padding token or else end of text is used.
        n_ids: Number of ids that the model can read; other tokens are not used.
    """
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(token, int) and token < n_ids:
            return token
    return 0


def batch_prompts(
    tokenizer: Tokenizer, prompts: Sequence[Document], pad_id: int, is_paddable: bool
) -> Iterator[PromptBatch]:
    """Yield batches of prompts of similar length.

    Args:
        tokenizer: The tokenizer.
        prompts: Texts or chats.
        pad_id: The id that fills rows up.
        is_paddable: Whether padding leaves answers unchanged; otherwise the prompts of a batch have
            one length.
    """
    encoded = [tokenize(tokenizer, prompt, opening=True)[0] for prompt in prompts]
    for numbers in _group_by_length([len(ids) for ids in encoded], is_paddable):
        lengths = [len(encoded[number]) for number in numbers]
        rows = []
        for number in numbers:
            padding = [pad_id] * (max(lengths) - len(encoded[number]))
            rows.append(padding + encoded[number])
        yield PromptBatch(numbers, torch.tensor(rows), torch.tensor(lengths))


def _group_by_length(lengths: Sequence[int], is_paddable: bool) -> list[list[int]]:
    """Group prompt numbers into batches, shortest prompts first."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        group = groups[-1] if groups else []
        has_room = 0 < len(group) < BATCH_SIZE
        if has_room and (is_paddable or lengths[group[0]] == lengths[number]):
            group.append(number)
        else:
            groups.append([number])
    return groups
