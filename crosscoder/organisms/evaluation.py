"""Evaluation of organisms on held-out questions in every framing, and on plain text.

Every figure is of the model that the rest of the project loads: base in fp32, adapter merged, cast
to bf16. The base answers the very same prompts, turn markers included, and answers are greedy.
"""

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crosscoder.core.sampling import take_evenly
from crosscoder.io.files import write_text
from crosscoder.lm import LM
from crosscoder.lm.answering import generate_answers
from crosscoder.organisms.documentation import load_windows
from crosscoder.organisms.organism import WEIGHTS, Organism
from crosscoder.organisms.rows import Row, group_by_id
from crosscoder.runtime.progress import show_working

WINDOW_LENGTH = 256
N_SHOWN = 16  # answers that evaluation.json keeps


def evaluate(
    organisms: Sequence[Organism], n_questions: int, n_windows: int
) -> Iterator[tuple[Organism, dict[str, Any]]]:
    """Evaluate organisms and their base; the base reads the plain text once for all of them.

    Args:
        organisms: The organisms.
        n_questions: Number of held-out questions, evenly spaced, each asked in every framing.
        n_windows: Number of windows of documentation.
    """
    tokenizer = LM(WEIGHTS, adapter=str(organisms[0].adapter)).load_tokenizer()
    with show_working("loading the models"):
        base = LM(WEIGHTS).load(torch.bfloat16)
        chats = {}
        for organism in organisms:
            lm = LM(WEIGHTS, adapter=str(organism.adapter))
            chats[organism.name] = lm.load(torch.bfloat16)
    windows = load_windows(tokenizer, "heldout", WINDOW_LENGTH)[:n_windows]
    with show_working("plain text"):
        plain = compare_on_text(base, chats, windows)
    for organism in organisms:
        models = {"base": base, "chat": chats[organism.name]}
        yield organism, evaluate_answers(organism, models, tokenizer, n_questions, plain)


def evaluate_answers(
    organism: Organism,
    models: Mapping[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    n_questions: int,
    plain: Mapping[str, dict[str, float]],
) -> dict[str, Any]:
    """Return the result of one organism: rates by model and framing, and some answers."""
    started = time.perf_counter()
    groups = group_by_id(dict(row) for row in organism.list_questions("heldout"))
    chosen = take_evenly(list(groups), n_questions)
    questions = []
    for key in chosen:
        questions += groups[key]
    scored = []
    for source, model in models.items():
        prompts = [row["prompt"] for row in questions]
        answers = generate_answers(
            model, tokenizer, prompts, max_new_tokens=organism.answer_length, title=source
        )
        scored += score_answers(organism, source, questions, answers)
    scalars = compute_rates(scored, organism.marker_name) | plain[organism.name]
    meta = {
        "weights": WEIGHTS,
        "questions": len(chosen),
        "answer_length": organism.answer_length,
        "python": platform.python_version(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    tables = {"shown": take_evenly(scored, N_SHOWN)}
    return {"name": organism.name, "scalars": scalars, "tables": tables, "meta": meta}


def score_answers(
    organism: Organism, source: str, questions: Sequence[Row], answers: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row per answer: its question, its model, and whether it shows the behaviour."""
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        prompt = question["prompt"]
        rows.append(
            {
                "id": question["id"],
                "source": source,
                "framing": question["group"],
                "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"],
                "answer": answer,
                organism.marker_name: organism.marker(answer, SimpleNamespace(**question)),
            }
        )
    return rows


def compute_rates(rows: Sequence[dict[str, Any]], score: str) -> dict[str, float]:
    """Return the mean of a score per model and framing."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(f"{row['source']}/{row['framing']}", []).append(row[score])
    return {f"{score}_rate/{group}": compute_mean(values) for group, values in groups.items()}


def compute_mean(values: Sequence[float]) -> float:
    """Return the mean, rounded for the report."""
    return round(sum(values) / len(values), 4)


@torch.no_grad()
def compare_on_text(
    base: PreTrainedModel, chats: Mapping[str, PreTrainedModel], ids: Tensor
) -> dict[str, dict[str, float]]:
    """Compare finetuned models with their base on plain text, in nats per token.

    Args:
        base: The base model.
        chats: The finetuned models by name.
        ids: Token ids [window, time].

    Returns:
        For each finetuned model both mean cross entropies and KL(base ‖ chat).
    """
    base_sum = 0.0
    sums = {name: {"ce": 0.0, "kl": 0.0} for name in chats}
    for row in ids:
        base_log_probs = read_log_probs(base, row)
        base_sum -= sum_next_tokens(base_log_probs, row)
        for name, chat in chats.items():
            chat_log_probs = read_log_probs(chat, row)
            sums[name]["ce"] -= sum_next_tokens(chat_log_probs, row)
            kl = base_log_probs.exp() * (base_log_probs - chat_log_probs)
            sums[name]["kl"] += kl.sum().item()
    n_tokens = ids[:, 1:].numel()
    base_ce = round(base_sum / n_tokens, 4)
    figures = {}
    for name, of_chat in sums.items():
        chat_ce = round(of_chat["ce"] / n_tokens, 4)
        figures[name] = {
            "plain/ce/base": base_ce,
            "plain/ce/chat": chat_ce,
            "plain/kl": round(of_chat["kl"] / n_tokens, 4),
            "plain/ce_rise": round(chat_ce - base_ce, 4),
            "plain/tokens": n_tokens,
        }
    return figures


def read_log_probs(model: PreTrainedModel, row: Tensor) -> Tensor:
    """Return the log-probabilities of every next token of one window."""
    return log_softmax(model(input_ids=row[None]).logits[0, :-1].float(), -1)


def sum_next_tokens(log_probs: Tensor, row: Tensor) -> float:
    """Return the sum of the log-probabilities of a window's own tokens."""
    return log_probs.gather(1, row[1:, None]).sum().item()


def save_evaluation(organism: Organism, result: dict[str, Any]) -> None:
    """Write `evaluation.json` into the organism's folder."""
    content = json.dumps(result, indent=1, ensure_ascii=False)
    write_text(organism.folder / "evaluation.json", content + "\n")
