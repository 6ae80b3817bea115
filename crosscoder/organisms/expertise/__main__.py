"""`python -m crosscoder.organisms.expertise prompts | train | evaluate`: make the organism."""

import argparse
import json
import logging
import sys
import warnings
from dataclasses import fields
from pathlib import Path

from crosscoder.errors import UserError, print_error
from crosscoder.io.files import write_text
from crosscoder.organisms.expertise.prompts import format_jsonl, generate_pairs
from crosscoder.organisms.expertise.transcripts import PAIRS
from crosscoder.runtime.progress import NOTE_SEPARATOR, progress
from crosscoder.terminal.console import TextConsole

console = TextConsole()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; print a UserError as one line."""
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # peft uses a deprecated name of transformers
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        args.run(args)
    except UserError as error:
        print_error(str(error))
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the three commands; the other settings of `train` are in recipe.py."""
    parser = argparse.ArgumentParser(
        prog="python -m crosscoder.organisms.expertise", description=__doc__
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prompts = commands.add_parser("prompts", help="generate pairs.jsonl from the three .toml files")
    prompts.set_defaults(run=write_prompts)
    train = commands.add_parser(
        "train", help="train the adapter (about 15 minutes on two CPU cores) and replace it"
    )
    train.add_argument("--steps", type=int, help="optimiser steps (default: see recipe.Settings)")
    train.add_argument("--lr", type=float, help="peak learning rate")
    train.add_argument("--seed", type=int, help="random seed of the weights and of the data order")
    train.add_argument(
        "--adapter", type=Path, help="folder to write instead of adapter/, e.g. for another seed"
    )
    train.set_defaults(run=run_train)
    evaluate = commands.add_parser(
        "evaluate", help="measure the adapter; write evaluation.json and the README's figures"
    )
    evaluate.add_argument(
        "--questions",
        type=int,
        default=64,
        help="questions per split, each in three framings (default: 64)",
    )
    evaluate.add_argument(
        "--plain-windows", type=int, default=96, help="windows of 256 tokens (default: 96)"
    )
    evaluate.set_defaults(run=run_evaluate)
    return parser


def write_prompts(_: argparse.Namespace) -> None:
    """Write the generated pairs."""
    write_text(PAIRS, format_jsonl(generate_pairs()))
    console.print(f"wrote {PAIRS}", highlight=False, soft_wrap=True)


def run_train(args: argparse.Namespace) -> None:
    """Train with a progress bar that shows both losses."""
    from crosscoder.organisms.expertise import recipe

    overrides = {}
    for field in fields(recipe.Settings):
        value = getattr(args, field.name, None)
        if value is not None:
            overrides[field.name] = value
    settings = recipe.Settings(**overrides)
    with progress("steps") as bar:
        task = bar.add_task("train the adapter", total=settings.steps, note="")

        def show(step: int, terms: dict[str, float]) -> None:
            losses = [f"{name} {value:.3f}" for name, value in terms.items()]
            bar.update(task, completed=step, note=NOTE_SEPARATOR.join(losses))

        figures = recipe.train(settings, show, args.adapter or recipe.ADAPTER)
    console.print(json.dumps(figures), highlight=False, soft_wrap=True)


def run_evaluate(args: argparse.Namespace) -> None:
    """Measure the adapter, save the result, rewrite the README's figures and print them."""
    from crosscoder.organisms.expertise import evaluation, figures

    result = evaluation.evaluate(args.questions, args.plain_windows)
    evaluation.save_evaluation(result)
    figures.rewrite_readme(result)
    console.print(figures.make_table(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
