"""CONTRIBUTING's list of folders is the package's tree, in the order of the import contract."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "crosscoder"
BEGIN = "<!-- structure: kept equal to the tree by tests/contracts/test_structure.py -->\n"


def list_layers() -> list[list[str]]:
    """Read the layers of the import contract: topmost first, siblings together."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def describe(path: Path) -> str:
    """Return the first line of a module's or a package's docstring."""
    file = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def list_packages(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if (path / "__init__.py").exists())


def draw_structure() -> str:
    """Draw the tree: one line per package and top-level module, in the order of the layers."""
    lines = []
    drawn = set()
    for layer in list_layers():
        for name in layer:
            top = name.partition(".")[0]
            if top in drawn:
                continue
            drawn.add(top)
            path = PACKAGE / top
            if not path.is_dir():
                lines.append(f"{top}.py".ljust(20) + describe(path.with_suffix(".py")))
                continue
            lines.append(f"{top}/".ljust(20) + describe(path))
            for child in list_packages(path):
                lines.append(f"  {child.name}/".ljust(20) + describe(child))
    return "```\n" + "\n".join(lines) + "\n```\n"


def test_contributing_lists_the_tree_in_the_order_of_the_import_contract():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition(BEGIN)
    assert begin
    assert rest.startswith(draw_structure()), f"expected below the comment:\n{draw_structure()}"


def test_every_package_and_module_is_in_a_layer():
    layered = {name.partition(".")[0] for layer in list_layers() for name in layer}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.name for path in list_packages(PACKAGE)}
    assert layered == modules | packages


def test_folders_hold_packages_only():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
