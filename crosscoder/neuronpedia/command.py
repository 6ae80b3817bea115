"""The command `crosscoder-formats export RUN neuronpedia FOLDER`: its arguments, what it prints."""

import argparse
from pathlib import Path

from rich.console import Console

from crosscoder.errors import UserError
from crosscoder.neuronpedia.naming import DEFAULT_CREATOR_ID, Naming, make_slug
from crosscoder.terminal.pairs import print_pairs

NAME = "neuronpedia"
FOREIGN = ("layout", "input_scale", "form")  # arguments of weight layouts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only this export has."""
    group = parser.add_argument_group(NAME, "a run's table, contexts and labels, for bulk import")
    group.add_argument("--release", help="name of the release (default: the run folder's)")
    group.add_argument(
        "--creator", default="crosscoder", help="name shown as the creator's (default: crosscoder)"
    )
    group.add_argument(
        "--creator-id",
        default=DEFAULT_CREATOR_ID,
        help="id of the Neuronpedia user who owns the rows (default: that of a new Neuronpedia)",
    )
    group.add_argument(
        "--trust-models",
        action="store_true",
        help="load language models that the run names and you have not trained on",
    )


def export_for_neuronpedia(args: argparse.Namespace, console: Console) -> None:
    """Export the run that the arguments name, and print what was written and what is missing.

    Raises:
        UserError: The run or an argument cannot be used.
    """
    from crosscoder.neuronpedia.export import export_run  # imports torch and pandas

    given = [name for name in FOREIGN if getattr(args, name) is not None]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise UserError(f"{option} is for weight layouts: leave it out for {NAME}")
    run = Path(args.spec)
    if not run.is_dir():
        raise UserError(f"no run at {args.spec}: the export for {NAME} needs a run folder")
    release = make_slug(args.release or run.resolve().name)
    naming = Naming(release, args.creator, args.creator_id)
    summary = export_run(run, args.folder, naming, args.trust_models)
    rows = {}
    for place, counts in summary.counts.items():
        rows[place] = ", ".join(f"{n:,} {kind}" for kind, n in counts.items())
    print_pairs(console, str(args.folder), rows.items())
    if summary.left_out:
        reasons = [f"{name}: {reason}" for name, reason in summary.left_out.items()]
        console.print(f"left out: {'; '.join(reasons)}", soft_wrap=True)
