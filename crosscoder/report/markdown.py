"""Put a run's results as Markdown between marks of a document, so that no figure is typed by hand.

Usage: `python -m crosscoder.report.markdown RUN README.md`. Marks, each ending in
`<!-- end of … -->`:

    <!-- figures of a run -->          quality of the reconstruction
    <!-- NAME -->                      result of an eval
    <!-- NAME: TABLE, TABLE -->        some of its tables
    <!-- answers of NAME -->           its first answers
    <!-- cards -->                     latents with the contexts that activate them (cards.py)

One figure inside a line stands between `<!-- figure: EVAL SCALAR -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError, exit_on_error, first_line
from crosscoder.evals import Result
from crosscoder.io.files import read_bytes, replace_text
from crosscoder.io.markdown import format_table, replace_between
from crosscoder.io.run_dir import Run
from crosscoder.report.current import require_current
from crosscoder.report.html.answers import Block, read_answers
from crosscoder.report.html.cards import format_cards
from crosscoder.report.terminal.tables import (
    format_cell,
    format_coverage,
    format_figure,
    group_by_source,
    list_columns,
    list_tables,
)

BEGIN = "<!-- figures of a run -->"
END = "<!-- end of figures -->"
QUALITY_EVALS = ("reconstruction", "splice")
ONE_FIGURE = re.compile(r"<!-- figure: (\S+) (\S+) -->(.*?)<!-- end -->")
N_QUESTIONS = 3  # whose answers are shown
TRAINING_METRICS = (
    "n_latents",
    "n_tokens",
    "train_tokens",
    "harvest_seconds",
    "train_seconds",
    "tokens_per_second",
)


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; their keys are its columns."""
    names = list_columns(rows)
    cells = []
    for row in rows:
        cells.append([format_cell(name, row.get(name, "")) for name in names])
    return format_table(names, cells)


def read_training_metrics(run: Run) -> dict[str, Any]:
    """Read the `metrics.json` of a finished run.

    Raises:
        UserError: The run is not finished, or lacks metrics of the training.
    """
    if not run.metrics.exists():
        raise UserError(f"no finished run at {run.folder}: it has no metrics.json")
    metrics = run.read_metrics()
    missing = [name for name in (*TRAINING_METRICS, "tokens_sha256") if name not in metrics]
    if missing:
        raise UserError(f"{run.metrics} lacks {', '.join(missing)}")
    return metrics


def load_current_result(run: Run, path: Path) -> Result:
    """Load a result, which must belong to the crosscoder in the folder."""
    result = Result.load(path)
    require_current(path.name, result.meta, run)
    return result


def format_quality(run: Run) -> str:
    """Format the quality of a run's reconstruction and the cost of its training."""
    metrics = read_training_metrics(run)
    blocks = []
    for name in QUALITY_EVALS:
        path = run.result_path(name)
        if path.exists():
            blocks += _format_quality_eval(load_current_result(run, path))
    blocks.append(f"training, tokens `{str(metrics['tokens_sha256'])[:16]}`:")
    blocks.append(format_rows([{name: metrics[name] for name in TRAINING_METRICS}]))
    return "\n\n".join(blocks)


def format_result(result: Result) -> str:
    """Format all of an eval's result except its answers, which are too many."""
    blocks = [_format_heading(result), format_rows(group_by_source(result.scalars))]
    for name, rows in list_tables(result).items():
        if name != "answers":
            blocks.append(f"{name}:\n\n{format_rows(rows)}")
    return "\n\n".join(blocks)


def format_tables(result: Result, names: Sequence[str]) -> str:
    """Format some of an eval's tables.

    Raises:
        UserError: The result lacks one of them.
    """
    for name in names:
        if name not in result.tables:
            known = ", ".join(result.tables)
            raise UserError(f"the result of {result.name} has no table '{name}', but {known}")
    tables = [format_rows(result.tables[name]) for name in names]
    return "\n\n".join([_format_heading(result), *tables])


def format_first_answers(result: Result, n: int = N_QUESTIONS) -> str:
    """Format the first `n` questions of an eval and their answers as lists.

    Raises:
        UserError: The result has no answers.
    """
    answers = read_answers(result)
    if not answers:
        raise UserError(f"the result of {result.name} has no answers")
    texts = []
    for number, blocks in enumerate(answers.questions[:n], 1):
        texts.append(f"Question {number}:")
        texts += [_format_block(block) for block in blocks]
    return "\n\n".join(texts)


def indent_code(text: str) -> str:
    """Return a text as an indented code block, in which Markdown is not rendered."""
    lines = (_escape_marks(text).strip() or "(nothing)").splitlines()
    return "\n".join(f"      {line}".rstrip() for line in lines)


def replace_figures(run: Run, text: str) -> str:
    """Replace the single figures of a document whose eval has a result in this run.

    Raises:
        UserError: A result lacks the figure.
    """
    names = {match[1] for match in ONE_FIGURE.finditer(text)}
    results: dict[str, Result] = {}
    for path in run.list_results():
        if path.stem in names:
            results[path.stem] = load_current_result(run, path)

    def replace(match: re.Match[str]) -> str:
        name, scalar, _ = match.groups()
        if name not in results:
            return match[0]
        scalars = results[name].scalars
        if scalar not in scalars:
            raise UserError(
                f"the result of {name} has no figure '{scalar}', but {', '.join(scalars)}"
            )
        figure = format_figure(scalars[scalar])
        return f"<!-- figure: {name} {scalar} -->{figure}<!-- end -->"

    return ONE_FIGURE.sub(replace, text)


def find_replacements(run: Run, text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (begin, end, new text) for every mark of a document that this run can fill."""
    if BEGIN in text:
        yield BEGIN, END, format_quality(run)
    for path in run.list_results():
        yield from _find_eval_replacements(run, path, text)
    if "<!-- cards -->" in text:
        yield "<!-- cards -->", "<!-- end of cards -->", format_cards(run)


def _find_eval_replacements(run: Run, path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    name = path.stem
    begin = f"<!-- {name} -->"
    if begin in text:
        yield begin, f"<!-- end of {name} -->", format_result(load_current_result(run, path))
    for match in re.finditer(f"<!-- {re.escape(name)}: (.+?) -->", text):
        tables = match[1].split(", ")
        new = format_tables(load_current_result(run, path), tables)
        yield match[0], f"<!-- end of {name}: {match[1]} -->", new
    begin = f"<!-- answers of {name} -->"
    if begin in text:
        new = format_first_answers(load_current_result(run, path))
        yield begin, f"<!-- end of answers of {name} -->", new


def _format_quality_eval(result: Result) -> list[str]:
    n_tokens = format_figure(result.meta.get("n_tokens"))
    blocks = [
        f"`{result.name}`, {n_tokens} held-out tokens:",
        format_rows(group_by_source(result.scalars)),
    ]
    rules = result.tables.get("norm_rules")
    if rules:
        counts = [f"{row.get('rule')}: {format_figure(row.get('latents'))}" for row in rules]
        blocks.append(f"{'; '.join(counts)}.")
    return blocks


def _format_heading(result: Result) -> str:
    coverage = format_coverage(result.meta)
    return f"`{result.name}`, {coverage}:" if coverage else f"`{result.name}`:"


def _format_block(block: Block) -> str:
    texts = {block.label or "asked": block.prompt}
    for name, text in block.answers.items():
        texts[f"**{name}**"] = text
    return "\n\n".join(f"- {name}:\n\n{indent_code(text)}" for name, text in texts.items())


def _escape_marks(text: str) -> str:
    """Break the beginning of marks in a text, which could end the place that this run fills."""
    return text.replace("<!--", "<! --")


def _read_document(document: Path) -> str:
    try:
        return read_bytes(document).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{document} is not UTF-8 text: {first_line(error)}") from error


@exit_on_error()
def main() -> None:
    """Put a run's figures into a document."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m crosscoder.report.markdown RUN DOCUMENT")
    run = Run(sys.argv[1])
    document = Path(sys.argv[2])
    text = _read_document(document)
    replacements = list(find_replacements(run, text))
    if not replacements and not ONE_FIGURE.search(text):
        raise UserError(
            f"{document} has no place for figures of {run.folder}: "
            f"it needs {BEGIN} and {END}, or an eval's name"
        )
    for begin, end, new in replacements:
        text = replace_between(text, begin, end, new)
    text = replace_figures(run, text)
    replace_text(document, text)


if __name__ == "__main__":
    main()
