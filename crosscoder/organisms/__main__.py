"""`python -m crosscoder.organisms examples | train | evaluate NAME`: make an organism."""

import argparse
import json
import logging
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path

from crosscoder.errors import UserError, print_error
from crosscoder.io.files import write_text
from crosscoder.organisms.organism import Organism, Settings, list_organisms, load_organism
from crosscoder.runtime.progress import NOTE_SEPARATOR, progress
from crosscoder.terminal.console import TextConsole

console = TextConsole()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run_command(make_parser().parse_args(arguments))


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command; print a UserError as one line."""
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
    """Return the parser of the three commands."""
    parser = argparse.ArgumentParser(prog="python -m crosscoder.organisms", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    names = ", ".join(list_organisms())
    examples = commands.add_parser("examples", help="write examples.jsonl")
    examples.add_argument("name", help=f"one of {names}")
    examples.set_defaults(run=write_examples)
    training = commands.add_parser("train", help="train the adapter and replace it")
    training.add_argument("name", help=f"one of {names}")
    add_training_options(training)
    training.set_defaults(run=lambda args: run_train(load_organism(args.name), args))
    evaluation = commands.add_parser(
        "evaluate", help="measure adapters; write evaluation.json and the README's figures"
    )
    evaluation.add_argument("names", nargs="+", metavar="name", help=f"one or more of {names}")
    add_evaluation_options(evaluation)
    evaluation.set_defaults(run=run_evaluate)
    return parser


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train`; the other settings are in the organism's recipe.py."""
    parser.add_argument("--steps", type=int, help="optimiser steps (default: see recipe.py)")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, help="random seed of the weights and of the data order")
    parser.add_argument(
        "--adapter", type=Path, help="folder to write instead of adapter/, e.g. for another seed"
    )


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    parser.add_argument(
        "--questions", type=int, default=64, help="questions, each in every framing (default: 64)"
    )
    parser.add_argument(
        "--plain-windows", type=int, default=96, help="windows of 256 tokens (default: 96)"
    )


def write_examples(args: argparse.Namespace) -> None:
    """Write the generated examples."""
    organism = load_organism(args.name)
    if organism.format_examples is None:
        raise UserError(f"organism '{args.name}' has no examples of its own")
    path = organism.folder / "examples.jsonl"
    write_text(path, organism.format_examples())
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def run_train(organism: Organism, args: argparse.Namespace) -> None:
    """Train with a progress bar that shows both losses."""
    from crosscoder.organisms import training

    overrides = {}
    for field in fields(Settings):
        value = getattr(args, field.name, None)
        if value is not None:
            overrides[field.name] = value
    settings = replace(organism.settings, **overrides)
    with progress("steps") as bar:
        task = bar.add_task("train the adapter", total=settings.steps, note="")

        def show(step: int, terms: dict[str, float]) -> None:
            losses = [f"{name} {value:.3f}" for name, value in terms.items()]
            bar.update(task, completed=step, note=NOTE_SEPARATOR.join(losses))

        figures = training.train(organism, settings, show, args.adapter or organism.adapter)
    console.print(json.dumps(figures), highlight=False, soft_wrap=True)


def run_evaluate(args: argparse.Namespace) -> None:
    """Measure adapters, save the results, rewrite the READMEs' figures and print them."""
    from crosscoder.organisms import evaluation, figures

    organisms = [load_organism(name) for name in args.names]
    for organism, result in evaluation.evaluate(organisms, args.questions, args.plain_windows):
        evaluation.save_evaluation(organism, result)
        figures.rewrite_readme(organism, result)
        console.print(figures.make_table(organism, result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
