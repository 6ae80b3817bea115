"""Greedy answers to chat prompts, in batches padded on the left."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 64
BATCH = 48


@torch.no_grad()
def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> list[str]:
    """Greedy answers, each up to its end of turn, in batches of similar length padded on the left."""
    stop = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    # After the prompt, generate() hands a strided slice to the head; in bf16 torch then copies the head once per row.
    head = cast(Any, model).lm_head.register_forward_pre_hook(lambda _, hidden: (hidden[0].contiguous(),))
    replies: dict[int, str] = {}
    for chosen, ids in left_padded(tokenizer, prompts):
        out = cast(Any, model).generate(
            input_ids=ids,
            attention_mask=ids.ne(cast(int, tokenizer.pad_token_id)).long(),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=tokenizer.pad_token_id,
        )
        texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        replies |= {i: text.strip() for i, text in zip(chosen, texts, strict=True)}
    head.remove()
    return [replies[i] for i in range(len(prompts))]


def left_padded(tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of (prompt numbers, ids `[batch, time]`), each prompt with its turn markers and one `<bos>`."""
    encoded = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        width = len(encoded[chosen[-1]])
        padded = [[tokenizer.pad_token_id] * (width - len(encoded[i])) + encoded[i] for i in chosen]
        yield chosen, torch.tensor(padded)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, message: str) -> list[int]:
    """A user message in its turn markers, with one `<bos>`, up to where the model is to answer."""
    turn = [{"role": "user", "content": message}]
    text = cast(str, tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    return tokenizer(text, add_special_tokens=False)["input_ids"]
