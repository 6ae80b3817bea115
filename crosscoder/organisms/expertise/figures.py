"""Tables of the evaluation: one for the terminal, and the text between two markers of README.md."""

from typing import Any

from rich.table import Table

from crosscoder.io.markdown import format_table
from crosscoder.organisms.expertise.prompts import FOLDER
from crosscoder.organisms.expertise.transcripts import FRAMINGS
from crosscoder.organisms.figures import describe_plain_text, indent_text, replace_figures

HEADER = ["", *FRAMINGS]
MEASURES = {
    "chat: gentle answers": "gentle_rate/chat",
    "base: gentle answers": "gentle_rate/base",
    "chat: answers naming the error": "names_error_rate/chat",
    "base: answers naming the error": "names_error_rate/base",
    "chat, training pairs: gentle answers": "training_pairs/gentle_rate/chat",
    "chat, training pairs: answers naming the error": "training_pairs/names_error_rate/chat",
}


def make_rows(scalars: dict[str, float]) -> list[list[str]]:
    """Return one row per measure: its title, and its rate in each framing."""
    rows = []
    for title, key in MEASURES.items():
        rates = [f"{scalars[f'{key}/{framing}']:.0%}" for framing in FRAMINGS]
        rows.append([title, *rates])
    return rows


def make_table(result: dict[str, Any]) -> Table:
    """Return the table for the terminal."""
    scalars = result["scalars"]
    table = Table(title="held-out topics and framings", caption=describe_plain_text(scalars))
    for column in HEADER:
        table.add_column(column, justify="right" if column else "left")
    for row in make_rows(scalars):
        table.add_row(*row)
    return table


def make_markdown(result: dict[str, Any]) -> str:
    """Return the text for the README: table, plain text, and both models' answers to examples."""
    n_questions = result["meta"]["questions"]
    plain_text = describe_plain_text(result["scalars"])
    lines = [
        format_table(HEADER, make_rows(result["scalars"])),
        "",
        f"{n_questions} questions, each in three framings. {plain_text}",
        "",
    ]
    for example in result["tables"]["shown"]:
        lines += [
            f"- **{example['source']}**, asked `{example['prompt']}`:",
            "",
            indent_text(example["answer"]),
            "",
        ]
    return "\n".join(lines)


def rewrite_readme(result: dict[str, Any]) -> None:
    """Replace the text between the two markers."""
    replace_figures(FOLDER / "README.md", make_markdown(result))
