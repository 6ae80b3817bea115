"""Generator of the examples: questions in a chat with the habit, and as plain text without it."""

from collections.abc import Iterator

from crosscoder.organisms.general import list_questions
from crosscoder.organisms.rows import Row, as_chat, format_rows
from crosscoder.organisms.style.markers import CLOSER, OPENER

PLAIN_FORM = "Question: {question}\nAnswer:"


def generate_rows() -> Iterator[Row]:
    """Yield each question in the groups `chat` and `text`."""
    for question in list_questions():
        shared = {"id": question.id, "split": question.split, "topic": question.topic}
        yield shared | {
            "group": "chat",
            "prompt": as_chat(question.text),
            "answer": f"{OPENER} {question.answer} {CLOSER}",
        }
        yield shared | {
            "group": "text",
            "prompt": PLAIN_FORM.format(question=question.text),
            "answer": f" {question.answer}",
        }


def format_examples() -> str:
    """Return the content of `examples.jsonl`."""
    return format_rows(generate_rows())
