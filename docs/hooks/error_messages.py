"""The reference of error messages: every message that the package raises for users."""

import ast
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from docs.hooks.api import PACKAGE, find_module, shorten

ERRORS = ("UserError", "NotApplicable", "Unusable", "MissingValue")
MODULES = ("json", "math", "os")
OTHER_NAMES = {"self": "this"}


@dataclass(frozen=True)
class Message:
    """A message of an error.

    Args:
        module: The module that raises it.
        pattern: Its text, with placeholders in angle brackets.
    """

    module: Path
    pattern: str


def list_messages() -> list[Message]:
    """List the messages of the package, module by module."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        patterns = dict.fromkeys(_list_patterns(tree))  # in order, without repetitions
        found += [Message(path, pattern) for pattern in patterns]
    return found


def _list_patterns(tree: ast.Module) -> Iterator[str]:
    for text in _list_texts(tree):
        pattern = " ".join(describe(text).split())
        is_made_elsewhere = re.fullmatch(r"<[^<>]*>", pattern)
        if not is_made_elsewhere:
            yield pattern


def _list_texts(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the expressions of messages: arguments of errors, and what `_explain…` returns."""
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_call and node.func.id in ERRORS and node.args:
            yield node.args[0]
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_explain"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.JoinedStr):
                    yield inner.value


def describe(node: ast.expr) -> str:
    """Return the text of an expression, with placeholders for what is known only at run time."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(describe(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return describe(node.value)
    if _is_text(node):
        return describe(node.left) + describe(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        if node.func.id in ("str", "repr", "sorted", "list", "Path"):
            return describe(node.args[0])
        return f"<{node.func.id.strip('_').replace('_', ' ')}>"
    return f"<{_name(node)}>"


def _is_text(node: ast.expr) -> TypeGuard[ast.BinOp]:
    """Return whether an expression joins texts with +, one of which is written there."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add):
        return False
    sides = [node.left, node.right]
    is_literal = any(
        isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides
    )
    return is_literal or any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in sides)


def _name(node: ast.expr) -> str:
    """Name what an expression stands for, in a word or two."""
    if isinstance(node, ast.Name):
        return OTHER_NAMES.get(node.id, node.id.replace("_", " "))
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").replace("_", " ")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "join" and node.args:
            return _name(node.args[0])
        is_module = isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES
        return _name(node.func) if is_module else _name(node.func.value)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.BinOp):
        return _name(node.left)
    if isinstance(node, ast.BoolOp):
        return _name(node.values[0])
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _name(node.generators[0].iter)
    return "…"


def write_errors() -> str:
    """Write the messages, grouped by package and module."""
    parts = []
    by_package: dict[Path, list[Message]] = {}
    for message in list_messages():
        by_package.setdefault(message.module.parent, []).append(message)
    for package in sorted(by_package):
        title = shorten(package)
        parts.append(f"### {title} {{ #{title} }}")
        rows = ["| message | raised in |", "|---|---|"]
        for message in by_package[package]:
            text = html.escape(message.pattern, quote=False).replace("|", "&#124;")
            text = text.replace("*", "&#42;").replace("_", "&#95;").replace("`", "&#96;")
            place = find_module(message.module) or ""
            page = place.removeprefix("reference/")
            rows.append(f"| {text} | [{message.module.stem.strip('_')}]({page}) |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)
