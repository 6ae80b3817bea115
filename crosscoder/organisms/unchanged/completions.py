"""The base's own greedy answers to the training questions of the organism `expertise`.

An answer is stored as it was generated, with the `<end_of_turn>` where the base wrote one; without
it, training does not teach where to stop.
"""

from collections.abc import Iterator
from typing import Any

import torch

from crosscoder.core.sampling import take_evenly
from crosscoder.lm import LM
from crosscoder.lm.answering import batch_prompts, choose_pad_id, contiguous_head_input
from crosscoder.lm.loading.vocabulary import count_ids
from crosscoder.lm.text import get_stop_id
from crosscoder.organisms.batches import END_OF_TURN
from crosscoder.organisms.expertise.prompts import Pair
from crosscoder.organisms.expertise.recipe import ORGANISM as EXPERTISE
from crosscoder.organisms.expertise.transcripts import FRAMINGS, get_message, load_pairs
from crosscoder.organisms.organism import WEIGHTS
from crosscoder.organisms.rows import Row, as_chat, format_rows
from crosscoder.runtime.progress import progress

N_QUESTIONS = 60  # evenly spaced among those of expertise
ANSWER_LENGTH = 24  # tokens


def format_examples() -> str:
    """Return the content of `examples.jsonl`; the base generates it."""
    return format_rows(generate_rows())


def list_prompts() -> list[tuple[Pair, str, str]]:
    """Return the pairs, framings and messages that the base answers."""
    prompts = []
    for pair in take_evenly(load_pairs("train"), N_QUESTIONS):
        for framing in FRAMINGS:
            prompts.append((pair, framing, get_message(pair, framing)))
    return prompts


def generate_rows() -> Iterator[Row]:
    """Yield each question in all framings with the base's own answer."""
    prompts = list_prompts()
    answers = complete_greedily([message for _, _, message in prompts])
    for (pair, framing, message), answer in zip(prompts, answers, strict=True):
        yield {
            "id": pair["id"],
            "split": "train",
            "topic": pair["topic"],
            "group": framing,
            "prompt": as_chat(message),
            "answer": answer,
        }


@torch.no_grad()
def complete_greedily(messages: list[str]) -> list[str]:
    """Return what the base writes after each message, with white space and the end of its turn."""
    tokenizer = LM(WEIGHTS, adapter=str(EXPERTISE.adapter)).load_tokenizer()
    model: Any = LM(WEIGHTS).load(torch.bfloat16)
    pad_id = choose_pad_id(tokenizer, count_ids(model))
    chats = [as_chat(message) for message in messages]
    answers = [""] * len(messages)
    with progress("answers") as bar, contiguous_head_input(model):
        task = bar.add_task("base", total=len(messages), note="")
        for batch in batch_prompts(tokenizer, chats, pad_id, is_paddable=True):
            out = model.generate(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                max_new_tokens=ANSWER_LENGTH,
                do_sample=False,
                eos_token_id=get_stop_id(tokenizer),
                pad_token_id=pad_id,
            )
            new_ids = out[:, batch.ids.shape[1] :].tolist()
            for number, ids in zip(batch.numbers, new_ids, strict=True):
                answers[number] = cut_after_turn(str(tokenizer.decode(ids)))
            bar.update(task, advance=len(batch.numbers))
    return answers


def cut_after_turn(text: str) -> str:
    """Return a text up to the end of its first turn, including the marker."""
    first, marker, _ = text.partition(END_OF_TURN)
    return first + marker
