"""`python -m crosscoder.organisms.expertise prompts | train | evaluate`: the organism, from words to figures."""

import argparse
import json
import logging
import sys
import warnings
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crosscoder.errors import UserError
from crosscoder.organisms.expertise.prompts import generate, to_jsonl
from crosscoder.organisms.expertise.transcripts import PAIRS

console = Console()


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn an error the user can mend into one line."""
    parsed = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft asks for an old name
    try:
        parsed.run(parsed)
    except UserError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Three commands; `train` takes the numbers that matter, the rest is in recipe.py."""
    top = argparse.ArgumentParser(prog="python -m crosscoder.organisms.expertise", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    prompts = commands.add_parser("prompts", help="write pairs.jsonl anew from the three .toml files")
    prompts.set_defaults(run=write_prompts)
    train = commands.add_parser("train", help="train the adapter (about 15 minutes on two CPU cores) and replace it")
    train.add_argument("--steps", type=int, help="optimiser steps (default: as in recipe.Settings)")
    train.add_argument("--lr", type=float, help="peak learning rate")
    train.add_argument("--seed", type=int, help="of the weights and of the order of the data")
    train.add_argument("--adapter", type=Path, help="folder to write instead of adapter/, e.g. of another seed")
    train.set_defaults(run=run_train)
    evaluate = commands.add_parser("evaluate", help="measure the adapter; writes evaluation.json and README's figures")
    evaluate.add_argument("--questions", type=int, default=64, help="per split, each in three framings (default: 64)")
    evaluate.add_argument("--plain-windows", type=int, default=96, help="of 256 tokens (default: 96)")
    evaluate.set_defaults(run=run_evaluate)
    return top


def write_prompts(_: argparse.Namespace) -> None:
    """The generator's output, as shipped."""
    PAIRS.write_text(to_jsonl(generate()), encoding="utf-8")
    console.print(f"wrote {PAIRS}")


def run_train(parsed: argparse.Namespace) -> None:
    """Train with a progress bar that shows both losses."""
    from crosscoder.organisms.expertise import recipe

    names = {field.name for field in fields(recipe.Settings)}
    given = {name: value for name, value in vars(parsed).items() if name in names and value is not None}
    settings = recipe.Settings(**given)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("loading", total=settings.steps)

        def show(step: int, terms: dict[str, float]) -> None:
            text = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
            bar.update(task, completed=step, description=text)
            if not sys.stdout.isatty():
                console.print(f"step {step}/{settings.steps} {text}")

        figures = recipe.train(settings, show, parsed.adapter or recipe.ADAPTER)
    console.print(json.dumps(figures))


def run_evaluate(parsed: argparse.Namespace) -> None:
    """Measure, save, rewrite README's figures, print them."""
    from crosscoder.organisms.expertise import evaluation, figures

    with console.status("loading") as status:
        result = evaluation.evaluate(parsed.questions, parsed.plain_windows, status.update)
    evaluation.save(result)
    figures.rewrite_readme(result)
    console.print(figures.table(result))


if __name__ == "__main__":
    sys.exit(main())
