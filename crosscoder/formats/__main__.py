"""Show dictionaries of any layout, and export crosscoders or the results of a run."""

import argparse
import json
import math
from typing import Any

from crosscoder.core.activations import Activation
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError, exit_on_error
from crosscoder.formats import export, list_layouts, load
from crosscoder.formats.catalogue import CROSSCODERS
from crosscoder.installation import name_command
from crosscoder.io.schema import parse_json
from crosscoder.neuronpedia import command as neuronpedia
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.pairs import print_pairs

console = TextConsole()
EXAMPLE_NAMES = {
    "gemma-scope-2b-pt-res/layer_12/width_16k": "Gemma Scope (the canonical L0)",
    "gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium": "Gemma Scope 2",
}


def print_rows(title: str, rows: dict[str, str], is_whole: bool = False) -> None:
    """Print names and values; with `is_whole` each value on one line, however long."""
    print_pairs(console, title, rows.items(), is_whole)


def list_known(_: argparse.Namespace) -> None:
    """List layouts and short names."""
    rows = {}
    for name, layout in list_layouts().items():
        module = layout.read.__module__
        rows[name] = f"{module}, also written" if layout.write else module
    print_rows("layouts", rows)
    crosscoders = {name: f"hf://{repo}" for name, repo in CROSSCODERS.items()}
    print_rows("short names", EXAMPLE_NAMES | crosscoders, is_whole=True)


def show(args: argparse.Namespace) -> None:
    """Show a dictionary: its sources, its size, its provenance."""
    crosscoder = _load(args)
    rows = {
        "latents": f"{crosscoder.n_latents:,}",
        "activation": describe_activation(crosscoder.activation),
    }
    for source in crosscoder.sources:
        place = f"{source.lm} {source.hookpoint}"
        rows[f"source {source.name}"] = f"{place.strip()}, width {source.width:,}"
    for key, value in crosscoder.provenance.items():
        # the activation that it was trained with may be another one
        name = "trained with" if key == "activation" else key
        if not is_undefined(value):
            rows[name] = value if isinstance(value, str) else format_value(value)
    print_rows(args.spec, rows)


def is_undefined(value: Any) -> bool:
    """Return whether there is no value: it is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def format_value(value: Any) -> str:
    """Return a value as JSON, without what is undefined."""
    return json.dumps(_drop_undefined(value), ensure_ascii=False)


def _drop_undefined(value: Any) -> Any:
    """Return a copy without undefined entries; in a list, where places count, they are dashes."""
    if isinstance(value, dict):
        return {key: _drop_undefined(one) for key, one in value.items() if not is_undefined(one)}
    if isinstance(value, list | tuple):
        return ["–" if is_undefined(one) else _drop_undefined(one) for one in value]
    return value


def describe_activation(activation: Activation) -> str:
    """Return its name and its settings, e.g. `topk, k=32`."""
    settings = activation.spec()
    name = str(settings.pop("name"))
    settings.pop("n_latents", None)
    known = {key: value for key, value in settings.items() if not is_undefined(value)}
    return ", ".join([name, *(f"{key}={value}" for key, value in known.items())])


def export_files(args: argparse.Namespace) -> None:
    """Write a crosscoder in another layout, or a run's results, and list what was written."""
    if args.to == neuronpedia.NAME:
        neuronpedia.export_for_neuronpedia(args, console)
        return
    folder = export(_load(args), args.to, args.folder, form=args.form)
    sizes = {file.name: f"{file.stat().st_size:,} bytes" for file in sorted(folder.iterdir())}
    print_rows(str(folder), sizes)


def push(args: argparse.Namespace) -> None:
    """Upload a crosscoder to the hub."""
    url = _load(args).push_to_hub(args.repo, private=not args.public, results=args.results)
    print_rows("pushed", {args.repo: url})


def parse_input_scale(text: str) -> float | dict[str, float]:
    """Parse `--input-scale`.

    Raises:
        ArgumentTypeError: The text is neither a number nor numbers by source.
    """
    try:
        return parse_json(text, float | dict[str, float], "factors")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@exit_on_error()
def main() -> None:
    """Parse the command line and run the command."""
    args = _build_parser().parse_args()
    args.run(args)


def _load(args: argparse.Namespace) -> Crosscoder:
    return load(args.spec, layout=args.layout, input_scale=args.input_scale)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(name_command("formats"), description=__doc__)
    parser.set_defaults(run=list_known)
    commands = parser.add_subparsers(
        title="commands (without one: list)", dest="command", metavar="COMMAND"
    )
    about_list = "list the layouts and the short names of dictionaries"
    commands.add_parser("list", help=about_list, description=about_list)
    common = _build_common_parser()

    about_show = "show what a dictionary is and where it comes from"
    show_parser = commands.add_parser(
        "show", parents=[common], help=about_show, description=about_show
    )
    show_parser.set_defaults(run=show)

    about_export = "write a dictionary in another library's layout, or a run for Neuronpedia"
    export_parser = commands.add_parser(
        "export", parents=[common], help=about_export, description=about_export
    )
    export_parser.set_defaults(run=export_files)
    _add_export_arguments(export_parser)

    about_push = "upload a dictionary to the hub, with a model card"
    push_parser = commands.add_parser(
        "push", parents=[common], help=about_push, description=about_push
    )
    push_parser.set_defaults(run=push)
    push_parser.add_argument("repo", help="owner/name")
    push_parser.add_argument(
        "--public", action="store_true", help="make a new repository public (default: private)"
    )
    push_parser.add_argument(
        "--results",
        action="store_true",
        help="also upload the run's table of latents, contexts and report",
    )
    return parser


def _build_common_parser() -> argparse.ArgumentParser:
    """Return the arguments that every command shares."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("spec", help="a folder, hf://owner/name[@revision]/folder, or a short name")
    parser.add_argument("--layout", help="name of the layout, where the files fit several")
    parser.add_argument(
        "--input-scale",
        type=parse_input_scale,
        help='factors that the files do not hold, e.g. \'{"base": 0.28, "chat": 0.24}\'',
    )
    return parser


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    writable = {name: layout for name, layout in list_layouts().items() if layout.write}
    names = [*writable, neuronpedia.NAME]
    parser.add_argument("to", help=f"layout: {', '.join(names)}")
    parser.add_argument("folder", help="a new folder")
    forms = [f"{name}: {', '.join(one.forms)}" for name, one in writable.items() if one.forms]
    parser.add_argument("--form", help=f"variant of the layout ({'; '.join(forms)})")
    neuronpedia.add_arguments(parser)


if __name__ == "__main__":
    main()
