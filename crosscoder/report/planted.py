"""The planted behaviour of an organism, and the methods that found it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from crosscoder.evals import Result
from crosscoder.report.shapes import Row, select_rows
from crosscoder.values import is_finite


@dataclass(frozen=True)
class PlantedBehaviour:
    """The planted behaviour, for the page.

    Args:
        description: What the finetuned model does when.
        vocabulary: Words that it writes because of the recipe.
        outcome: A sentence on which methods found it.
    """

    description: str
    vocabulary: list[str]
    outcome: str


def read_planted(config: str, results: Mapping[str, Result]) -> PlantedBehaviour | None:
    """Return what was planted in the models of a run; None if nothing says so.

    Args:
        config: Text of config.yaml.
        results: Results by name. The one of the eval `methods` comes first.
    """
    methods = results.get("methods")
    found: Any = methods.meta.get("planted") if methods is not None else None
    if not isinstance(found, dict):
        found = _read_config(config)
    description = found.get("description")
    if not isinstance(description, str) or not description.strip():
        return None
    words = found.get("vocabulary")
    vocabulary = [str(word) for word in words] if isinstance(words, list) else []
    return PlantedBehaviour(description.strip(), vocabulary, describe_outcome(methods))


def _read_config(config: str) -> dict[str, Any]:
    """Return the entry behaviour.planted of a configuration; empty if there is none."""
    try:
        content: Any = yaml.safe_load(config)
    except yaml.YAMLError:  # the page shows the text as it is
        return {}
    for key in ("behaviour", "planted"):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def describe_outcome(methods: Result | None) -> str:
    """Return a sentence on which methods found the behaviour, and at which rank."""
    if methods is None:
        return "Whether it can be found was not measured: run eval=[methods]."
    rows = [row for row in select_rows(methods, "methods", ("method",)) if "found" in row]
    if not rows:
        return "Whether it can be found was not measured."
    parts = []
    for uses_labels, kind in ((False, "without labels"), (True, "with labels")):
        own = [row for row in rows if bool(row.get("uses_labels")) == uses_labels]
        if own:
            parts.append(f"{_list_found(own)} ({kind})")
    return f"Found by {'; '.join(parts)}."


def _list_found(rows: list[Row]) -> str:
    names = []
    for row in rows:
        if is_finite(row["found"]):
            names.append(f"{row['method']} at rank {int(row['found'])}")
    count = f"{len(names)} of {len(rows)} methods"
    return f"{count}: {', '.join(names)}" if names else count
