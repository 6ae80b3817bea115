"""The API reference: one page per package, with its modules in alphabetical order."""

import ast
from dataclasses import dataclass
from pathlib import Path

import crosscoder

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "crosscoder"
TOP = "reference/api/crosscoder.md"  # the package itself, and the modules that lie in it


@dataclass(frozen=True)
class ApiPage:
    """A page of the API.

    Args:
        title: Its name in the navigation.
        path: Its path in the site.
        text: Its Markdown; mkdocstrings replaces the lines with `:::`.
    """

    title: str
    path: str
    text: str


def list_packages() -> list[Path]:
    """List the folders of the package and its subpackages that have modules."""
    found = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        if list_modules(path.parent) or describe(path).count("\n"):
            found.append(path.parent)
    return found


def list_modules(folder: Path) -> list[Path]:
    """List the modules of a package, without those in subpackages."""
    return [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__")]


def list_api_pages() -> list[ApiPage]:
    """List the pages of the API, one per package."""
    pages = []
    for folder in list_packages():
        title = shorten(folder)
        start = folder / "__init__.py"
        parts = [f"# {title}", f"::: {name(folder)}" if has_code(start) else describe(start)]
        parts += [f"::: {name(path)}" for path in list_modules(folder)]
        pages.append(ApiPage(title, place(folder), "\n\n".join(parts) + "\n"))
    return pages


def name(path: Path) -> str:
    """Return the dotted name of a module or package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def shorten(folder: Path) -> str:
    """Return the dotted name of a package inside of `crosscoder`."""
    return name(folder).removeprefix("crosscoder.")


def place(folder: Path) -> str:
    """Return the path of a package's page in the site."""
    return f"reference/api/{shorten(folder)}.md"


def describe(path: Path) -> str:
    """Return the docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def has_code(path: Path) -> bool:
    """Return whether a module defines public functions or classes of its own."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in nodes)


def find_module(path: Path) -> str | None:
    """Return the page and the anchor of a module, or the page of a package."""
    if path.suffix == ".py" and not path.stem.startswith("__"):
        return f"{place(path.parent)}#{name(path)}"
    folder = path if path.is_dir() else path.parent
    return place(folder) if folder in list_packages() else None


def write_public_names() -> str:
    """Write the table of the names that `from crosscoder import …` knows."""
    rows = ["| name | what it is |", "|---|---|"]
    for public in crosscoder.__all__:
        value = getattr(crosscoder, public)
        summary = (value.__doc__ or "").strip().partition("\n")[0]
        rows.append(f"| [`{public}`][{value.__module__}.{value.__qualname__}] | {summary} |")
    return "\n".join(rows)


def write_structure() -> str:
    """Write the table of the packages."""
    rows = ["| package | content |", "|---|---|"]
    for folder in list_packages():
        title = shorten(folder)
        summary = describe(folder / "__init__.py").partition("\n")[0]
        rows.append(f"| [`{title}`](api/{Path(place(folder)).name}) | {summary} |")
    return "\n".join(rows)
