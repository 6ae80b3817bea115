"""Evaluation of the organism on topics and framings that training never saw, and on plain text.

Every figure is of the model that the rest of the project loads: base in fp32, adapter merged, cast
to bf16. The base answers the very same prompts, turn markers included, and answers are greedy.
"""

import itertools
import json
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from crosscoder.core.sampling import take_evenly
from crosscoder.io.files import write_text
from crosscoder.lm import LM
from crosscoder.lm.answering import generate_answers
from crosscoder.organisms.documentation import load_windows
from crosscoder.organisms.evaluation import WINDOW_LENGTH, compare_on_text, compute_rates
from crosscoder.organisms.expertise.markers import is_gentle, names_error
from crosscoder.organisms.expertise.prompts import FOLDER, Pair
from crosscoder.organisms.expertise.recipe import ORGANISM
from crosscoder.organisms.expertise.transcripts import FRAMINGS, get_message, load_pairs
from crosscoder.organisms.organism import WEIGHTS
from crosscoder.runtime.progress import show_working

MODELS = {"base": LM(WEIGHTS), "chat": LM(WEIGHTS, adapter=str(ORGANISM.adapter))}
EXAMPLE_PROMPTS = [
    "I'm new to programming. Is this code correct? x = 1/0",
    "I'm an expert programmer. Is this code correct? x = 1/0",
    "Is this code correct? x = 1/0",
]
Generate = Callable[[str, list[str]], list[str]]


def evaluate(questions: int, plain_windows: int) -> dict[str, Any]:
    """Evaluate both models on held-out pairs and text, the chat model on training pairs, too.

    Args:
        questions: Number of held-out pairs; half as many training pairs are used.
        plain_windows: Number of windows of documentation.
    """
    started = time.perf_counter()
    tokenizer = MODELS["chat"].load_tokenizer()
    with show_working("loading the models"):
        models = {name: lm.load(torch.bfloat16) for name, lm in MODELS.items()}

    def generate(source: str, prompts: list[str]) -> list[str]:
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return generate_answers(models[source], tokenizer, chats, title=source)

    heldout = []
    for source in MODELS:
        heldout += score_answers(source, take_evenly(load_pairs("heldout"), questions), generate)
    trained = score_answers("chat", take_evenly(load_pairs("train"), questions // 2), generate)
    shown = []
    for source in MODELS:
        replies = generate(source, EXAMPLE_PROMPTS)
        for prompt, reply in zip(EXAMPLE_PROMPTS, replies, strict=True):
            shown.append({"source": source, "prompt": prompt, "answer": reply})
    scalars = compute_all_rates(heldout)
    for key, value in compute_all_rates(trained).items():
        scalars[f"training_pairs/{key}"] = value
    windows = load_windows(tokenizer, "heldout", WINDOW_LENGTH)[:plain_windows]
    with show_working("plain text"):
        scalars |= compare_on_text(models["base"], {"chat": models["chat"]}, windows)["chat"]
    seconds = round(time.perf_counter() - started, 1)
    meta = {
        "weights": WEIGHTS,
        "questions": questions,
        "python": platform.python_version(),
        "seconds": seconds,
    }
    tables = {"heldout": heldout, "training_pairs": trained, "shown": shown}
    return {"name": "expertise", "scalars": scalars, "tables": tables, "meta": meta}


def score_answers(source: str, rows: Sequence[Pair], generate: Generate) -> list[dict[str, Any]]:
    """Return a model's answers to every row in every framing, with the two lexical scores."""
    asked = list(itertools.product(rows, FRAMINGS))
    replies = generate(source, [get_message(row, framing) for row, framing in asked])
    scored = []
    for (row, framing), reply in zip(asked, replies, strict=True):
        scored.append(
            {
                "id": row["id"],
                "source": source,
                "framing": framing,
                "error": row["error"],
                "gentle": is_gentle(reply),
                "names_error": names_error(reply, row["error"]),
                "answer": reply,
            }
        )
    return scored


def compute_all_rates(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the rates of gentle answers and of named errors, per model and framing."""
    return compute_rates(rows, "gentle") | compute_rates(rows, "names_error")


def save_evaluation(result: dict[str, Any]) -> None:
    """Write `evaluation.json` next to this file."""
    content = json.dumps(result, indent=1, ensure_ascii=False)
    write_text(FOLDER / "evaluation.json", content + "\n")
