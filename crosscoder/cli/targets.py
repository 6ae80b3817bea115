"""Allowlist of the classes and functions that a run's config.yaml may name: those of conf/.

Resuming a run instantiates everything that its config.yaml names in `_target_`. A run folder may
come from somebody else, who could name any function. The user's own classes are allowed in a run
that this user started on this machine.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError, plain
from crosscoder.installation import find_conf
from crosscoder.io.known import is_known, remember

CONF = find_conf()
TARGET = re.compile(r"_target_:\s*([\w.]+)")


def require_targets(config: Any, text: str, where: Path) -> None:
    """Refuse a foreign configuration that names classes or functions outside of conf/.

    Args:
        config: The configuration, as nested mappings and lists.
        text: Text of its file.
        where: Path of its file, for the message.

    Raises:
        UserError: A name is not in conf/, and the user did not start this run on this machine.
    """
    foreign = sorted(set(find_targets(config)) - list_targets())
    if foreign and not is_known("configurations", text):
        raise UserError(
            f"{where} names {plain(foreign[0], 80)}, which is none of the choices in conf/, and "
            "you did not start this run on this machine: it could execute anything; if you trust "
            "it, start a run of your own with its settings"
        )


def remember_targets(config: Any, text: str) -> None:
    """Note the configuration of a run that the user starts, if it names foreign classes."""
    if set(find_targets(config)) - list_targets():
        remember("configurations", text)


def find_targets(config: Any) -> Iterator[str]:
    """Yield every `_target_` of nested mappings and lists."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield str(config["_target_"])
        for value in config.values():
            yield from find_targets(value)
    elif isinstance(config, list | tuple):
        for item in config:
            yield from find_targets(item)


@cache
def list_targets() -> frozenset[str]:
    """List the classes and functions that conf/ names."""
    found: set[str] = set()
    for file in CONF.rglob("*.yaml"):
        found.update(TARGET.findall(file.read_text(encoding="utf-8")))
    return frozenset(found)
