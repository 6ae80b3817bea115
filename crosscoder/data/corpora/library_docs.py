"""The docstrings of Python's standard library."""

import ast
from functools import lru_cache
from pathlib import Path

SKIPPED_FOLDERS = {"site-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@lru_cache(maxsize=1)  # every split reads them, and parsing takes seconds
def read_library_docs(library: Path) -> tuple[str, ...]:
    """Return the docstrings of every module, joined; files are parsed, never imported."""
    modules = []
    for file in sorted(library.rglob("*.py")):
        if SKIPPED_FOLDERS & set(file.relative_to(library).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        docs = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
        text = "\n\n".join(doc for doc in docs if doc)
        if text:
            modules.append(text)
    return tuple(modules)
