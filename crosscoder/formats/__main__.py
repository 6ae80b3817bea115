"""Look at dictionaries of any layout, and write crosscoders for other libraries: python -m crosscoder.formats --help."""

import argparse
import json

from rich.console import Console
from rich.table import Table

from crosscoder.errors import one_line
from crosscoder.formats import export, layouts, load
from crosscoder.formats.catalogue import CROSSCODERS

console = Console()


def pairs(title: str, rows: dict[str, str]) -> None:
    """Names and values."""
    table = Table(title=title, title_style="bold", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in rows.items():
        table.add_row(*row)
    console.print(table)


def listed(_: argparse.Namespace) -> None:
    """What can be read and written."""
    rows = {name: f"{one.read.__module__}{', also written' if one.write else ''}" for name, one in layouts().items()}
    pairs("layouts", rows)
    short = {"gemma-scope-2b-pt-res/layer_12/width_16k": "Gemma Scope (the canonical L0)"}
    short["gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium"] = "Gemma Scope 2"
    pairs("short names", short | {name: f"hf://{repo}" for name, repo in CROSSCODERS.items()})


def show(given: argparse.Namespace) -> None:
    """A dictionary: its streams, its size, where it came from."""
    crosscoder = load(given.spec, layout=given.layout, input_scale=given.input_scale)
    activation, provenance = crosscoder.activation.spec(), crosscoder.provenance
    rows = {
        "latents": f"{crosscoder.n_latents:,}",
        "activation": ", ".join(str(value) for key, value in activation.items() if key != "n_latents"),
        **{f"source {s.name}": f"{s.lm} {s.hookpoint}, width {s.width:,}" for s in crosscoder.sources},
    }
    rows |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in provenance.items()}
    pairs(given.spec, rows)


def written(given: argparse.Namespace) -> None:
    """A crosscoder in another layout."""
    crosscoder = load(given.spec, layout=given.layout, input_scale=given.input_scale)
    folder = export(crosscoder, given.to, given.folder)
    pairs(str(folder), {file.name: f"{file.stat().st_size:,} bytes" for file in sorted(folder.iterdir())})


def pushed(given: argparse.Namespace) -> None:
    """A crosscoder to the hub."""
    crosscoder = load(given.spec, layout=given.layout, input_scale=given.input_scale)
    pairs("pushed", {given.repo: crosscoder.push_to_hub(given.repo, private=not given.public)})


@one_line()
def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m crosscoder.formats", description=__doc__)
    parser.set_defaults(run=listed)
    commands = parser.add_subparsers(title="commands (without one: list layouts and short names)", metavar="")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("spec", help="a folder, hf://owner/name[@revision]/folder, or a short name")
    common.add_argument("--layout", help="where the files fit several")
    common.add_argument(
        "--input-scale", type=json.loads, help='factors the files do not hold, e.g. \'{"base": 0.28, "chat": 0.24}\''
    )
    for name, run, what in (
        ("show", show, "what a dictionary is and where it came from"),
        ("export", written, "write it in another library's layout"),
        ("push", pushed, "upload it to the hub, with a model card"),
    ):
        command = commands.add_parser(name, parents=[common], help=what, description=what)
        command.set_defaults(run=run)
        if name == "export":
            command.add_argument("to", help=", ".join(name for name, one in layouts().items() if one.write))
            command.add_argument("folder", help="a new folder")
        if name == "push":
            command.add_argument("repo", help="owner/name")
            command.add_argument("--public", action="store_true", help="a new repository is private otherwise")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
