"""`python -m crosscoder.organisms.expertise prompts | train | evaluate`: make the organism."""

import argparse
import sys

from crosscoder.io.files import write_text
from crosscoder.organisms.__main__ import (
    add_evaluation_options,
    add_training_options,
    console,
    run_command,
    run_train,
)
from crosscoder.organisms.expertise.prompts import format_jsonl, generate_pairs
from crosscoder.organisms.expertise.recipe import ORGANISM
from crosscoder.organisms.expertise.transcripts import PAIRS


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run_command(make_parser().parse_args(arguments))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the three commands; the settings of `train` are in recipe.py."""
    parser = argparse.ArgumentParser(
        prog="python -m crosscoder.organisms.expertise", description=__doc__
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prompts = commands.add_parser("prompts", help="generate pairs.jsonl from the three .toml files")
    prompts.set_defaults(run=write_prompts)
    train = commands.add_parser(
        "train", help="train the adapter (about 15 minutes on two CPU cores) and replace it"
    )
    add_training_options(train)
    train.set_defaults(run=lambda args: run_train(ORGANISM, args))
    evaluate = commands.add_parser(
        "evaluate", help="measure the adapter; write evaluation.json and the README's figures"
    )
    add_evaluation_options(evaluate)
    evaluate.set_defaults(run=run_evaluate)
    return parser


def write_prompts(_: argparse.Namespace) -> None:
    """Write the generated pairs."""
    write_text(PAIRS, format_jsonl(generate_pairs()))
    console.print(f"wrote {PAIRS}", highlight=False, soft_wrap=True)


def run_evaluate(args: argparse.Namespace) -> None:
    """Measure the adapter, save the result, rewrite the README's figures and print them."""
    from crosscoder.organisms.expertise import evaluation, figures

    result = evaluation.evaluate(args.questions, args.plain_windows)
    evaluation.save_evaluation(result)
    figures.rewrite_readme(result)
    console.print(figures.make_table(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
