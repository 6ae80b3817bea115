"""Texts of the requests to a language model, and how its replies are read.

The tasks are those of Paulo et al. 2024 (arXiv 2410.13928) and, for the intruder, of Paulo &
Belrose 2025 (arXiv 2507.08473); the wording is ours.
"""

import json
import re
from collections.abc import Sequence

from crosscoder.evals.explanations.examples import Example

MARK = ("«", "»")
MAX_LABEL_LENGTH = 200
LIST = re.compile(r"\[[\s01,]*\]")
NUMBER = re.compile(r"\d+")


def ask_for_label(examples: Sequence[Example], promoted: Sequence[str]) -> str:
    """Return the request for a label."""
    lines = [
        "A unit of a language model is active on some tokens of a text. Below are excerpts, with "
        f"the tokens on which it is active between {MARK[0]} and {MARK[1]}; its strongest activity "
        "comes first.",
        "",
        *_number([mark_active(example) for example in examples]),
        "",
    ]
    if promoted:
        tokens = ", ".join(repr(token) for token in promoted)
        lines += [f"When it is active, these tokens become more likely: {tokens}", ""]
    lines.append(
        "What do the marked tokens have in common? Reply with one short phrase of at most fifteen "
        "words and nothing else. Be specific."
    )
    return "\n".join(lines)


def read_label(reply: str) -> str:
    """Return the first line of a reply as a label, without quotes; empty if there is none."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    label = lines[0].strip("\"'*` ") if lines else ""
    return label[:MAX_LABEL_LENGTH]


def ask_for_detection(label: str, examples: Sequence[Example]) -> str:
    """Return the question which of some excerpts a label applies to."""
    return "\n".join(
        [
            "A unit of a language model is active in texts that fit this description:",
            label,
            "",
            *_number([example.text for example in examples]),
            "",
            "In which excerpts is it active on at least one token? " + _ask_for_list(len(examples)),
        ]
    )


def ask_for_fuzzing(label: str, marked: Sequence[str]) -> str:
    """Return the question in which excerpts the right tokens are marked."""
    return "\n".join(
        [
            "A unit of a language model is active on tokens that fit this description:",
            label,
            "",
            *_number(marked),
            "",
            f"In each excerpt some tokens are between {MARK[0]} and {MARK[1]}. In which excerpts "
            "are these the tokens on which it is active? " + _ask_for_list(len(marked)),
        ]
    )


def ask_for_intruder(examples: Sequence[Example]) -> str:
    """Return the question which excerpt does not belong to the others."""
    return "\n".join(
        [
            "All of these excerpts but one have something in common.",
            "",
            *_number([example.text for example in examples]),
            "",
            "Which one does not belong? Reply with its number and nothing else.",
        ]
    )


def read_flags(reply: str, n: int) -> list[bool] | None:
    """Read a list of `n` zeros and ones; None if the reply has none."""
    for found in reversed(LIST.findall(reply)):
        try:
            values = json.loads(found)
        except ValueError:
            continue
        if len(values) == n:
            return [value == 1 for value in values]
    return None


def read_number(reply: str, n: int) -> int | None:
    """Read a number from 1 to `n`; None if the reply has none, or different ones."""
    numbers = {int(found) for found in NUMBER.findall(reply)}
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    return number if 1 <= number <= n else None


def mark_active(example: Example) -> str:
    """Return a window's text with the tokens on which the latent is active between marks."""
    return mark_tokens(example, example.active_places)


def mark_tokens(example: Example, places: Sequence[int]) -> str:
    """Return a window's text with some of its tokens between marks."""
    chosen = set(places)
    parts = []
    for place, token in enumerate(example.tokens):
        parts.append(f"{MARK[0]}{token}{MARK[1]}" if place in chosen else token)
    return "".join(parts)


def _number(texts: Sequence[str]) -> list[str]:
    """Return one line for each excerpt; its line breaks are shown as ⏎."""
    return [f"{i}. {text.replace(chr(10), '⏎')}" for i, text in enumerate(texts, 1)]


def _ask_for_list(n: int) -> str:
    example = json.dumps([i % 2 for i in range(n)])
    return (
        f"Reply with a list of {n} numbers, 1 for yes and 0 for no, e.g. {example}, "
        "and nothing else."
    )
