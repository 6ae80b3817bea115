"""The evaluation as tables: one for the terminal, and the part of README.md between its two markers."""

from typing import Any

from rich.table import Table

from crosscoder import documents
from crosscoder.organisms.expertise.prompts import FOLDER
from crosscoder.organisms.expertise.transcripts import FRAMINGS

START, END = "<!-- figures: written by the evaluate command -->", "<!-- end of figures -->"
HEADER = ["", *FRAMINGS]


MEASURES = {
    "chat: gentle answers": "gentle_rate/chat",
    "base: gentle answers": "gentle_rate/base",
    "chat: answers naming the error": "names_error_rate/chat",
    "base: answers naming the error": "names_error_rate/base",
    "chat, training pairs: gentle answers": "training_pairs/gentle_rate/chat",
    "chat, training pairs: answers naming the error": "training_pairs/names_error_rate/chat",
}


def rows(scalars: dict[str, float]) -> list[list[str]]:
    """What is measured, for each framing."""
    return [[title] + [f"{scalars[f'{key}/{framing}']:.0%}" for framing in FRAMINGS] for title, key in MEASURES.items()]


def plain_line(scalars: dict[str, float]) -> str:
    """How far the organism moved on text that has nothing to do with it."""
    s = {key.removeprefix("plain/"): value for key, value in scalars.items() if key.startswith("plain/")}
    return (
        f"Cross entropy on {s['tokens']:,} tokens of documentation: base {s['ce/base']:.3f}, chat {s['ce/chat']:.3f} "
        f"nats per token ({s['ce_rise']:+.3f}); KL(base ‖ chat) {s['kl']:.3f}."
    )


def table(result: dict[str, Any]) -> Table:
    """For the terminal."""
    drawn = Table(title="held-out topics and framings", caption=plain_line(result["scalars"]))
    for column in HEADER:
        drawn.add_column(column, justify="right" if column else "left")
    for row in rows(result["scalars"]):
        drawn.add_row(*row)
    return drawn


def markdown(result: dict[str, Any]) -> str:
    """For the README: the table, the plain line, and both models on the guide's own prompt."""
    lines = [
        documents.table(HEADER, rows(result["scalars"])),
        "",
        f"{result['meta']['questions']} questions, each in three framings. {plain_line(result['scalars'])}",
        "",
    ]
    for shown in result["tables"]["shown"]:
        lines += [f"- **{shown['source']}**, asked `{shown['prompt']}`:", "", quote(shown["answer"]), ""]
    return "\n".join(lines)


def quote(answer: str) -> str:
    """An answer as an indented code block, so that no markdown in it is rendered."""
    return "\n".join(f"      {line}" for line in (answer or "(nothing)").splitlines())


def rewrite_readme(result: dict[str, Any]) -> None:
    """Replace what stands between the markers."""
    path = FOLDER / "README.md"
    text = documents.put(path.read_text(encoding="utf-8"), START, END, markdown(result))
    path.write_text(text, encoding="utf-8")
