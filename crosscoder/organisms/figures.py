"""Tables of an evaluation: one for the terminal, and the text between two markers of README.md."""

from pathlib import Path
from typing import Any

from rich.table import Table

from crosscoder.io.files import replace_text
from crosscoder.io.markdown import format_table, replace_between
from crosscoder.organisms.organism import Organism

START = "<!-- figures: written by the evaluate command -->"
END = "<!-- end of figures -->"
N_EXAMPLES = 6  # answers in the README


def list_framings(result: dict[str, Any]) -> list[str]:
    """Return the framings in which both models were asked."""
    keys = [key.split("/") for key in result["scalars"] if "_rate/chat/" in key]
    return [key[-1] for key in keys]


def make_rows(organism: Organism, result: dict[str, Any]) -> list[list[str]]:
    """Return one row per model: its title, and its rate in each framing."""
    rows = []
    for source in ("chat", "base"):
        rates = []
        for framing in list_framings(result):
            rate = result["scalars"][f"{organism.marker_name}_rate/{source}/{framing}"]
            rates.append(f"{rate:.0%}")
        rows.append([f"{source}: {organism.marker_name} answers", *rates])
    return rows


def describe_plain_text(scalars: dict[str, float]) -> str:
    """Write how much the organism differs from its base on unrelated text."""
    tokens = scalars["plain/tokens"]
    base = scalars["plain/ce/base"]
    chat = scalars["plain/ce/chat"]
    rise = scalars["plain/ce_rise"]
    kl = scalars["plain/kl"]
    return (
        f"Cross entropy on {tokens:,} tokens of documentation: base {base:.3f}, chat {chat:.3f} "
        f"nats per token ({rise:+.3f}); KL(base ‖ chat) {kl:.3f}."
    )


def make_table(organism: Organism, result: dict[str, Any]) -> Table:
    """Return the table for the terminal."""
    table = Table(
        title=f"{organism.name}: held-out questions",
        caption=describe_plain_text(result["scalars"]),
    )
    for column in ["", *list_framings(result)]:
        table.add_column(column, justify="right" if column else "left")
    for row in make_rows(organism, result):
        table.add_row(*row)
    return table


def make_markdown(organism: Organism, result: dict[str, Any]) -> str:
    """Return the text for the README: table, plain text, and both models' answers to examples."""
    n_questions = result["meta"]["questions"]
    framings = list_framings(result)
    plain_text = describe_plain_text(result["scalars"])
    lines = [
        format_table(["", *framings], make_rows(organism, result)),
        "",
        f"{n_questions} questions, each in {len(framings)} framings. {plain_text}",
        "",
    ]
    for example in choose_examples(result["tables"]["shown"]):
        title = f"- **{example['source']}**, {example['framing']}:"
        question = indent_text(example["prompt"])
        answer = indent_text(f"→ {example['answer']}")
        lines += [title, "", question, answer, ""]
    return "\n".join(lines)


def choose_examples(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first answers of each model in each framing."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for example in shown:
        chosen.setdefault((example["source"], example["framing"]), example)
    return list(chosen.values())[:N_EXAMPLES]


def indent_text(text: str) -> str:
    """Return a text as an indented code block, so that Markdown in it is not rendered."""
    lines = (text or "(nothing)").splitlines()
    return "\n".join(f"      {line}".rstrip() for line in lines)


def rewrite_readme(organism: Organism, result: dict[str, Any]) -> None:
    """Replace the text between the two markers."""
    replace_figures(organism.folder / "README.md", make_markdown(organism, result))


def replace_figures(path: Path, figures: str) -> None:
    """Replace the text between the two markers of a file."""
    old = path.read_text(encoding="utf-8")
    replace_text(path, replace_between(old, START, END, figures))
