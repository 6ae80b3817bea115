"""The configuration reference: every key of conf/ with its default and its comment.

It is read with the reader of `--help`, so both say the same.
"""

import html
from collections.abc import Iterable
from pathlib import Path

from crosscoder.cli.conf_files import ConfFile, Key, list_choices, list_groups

CONF = Path(__file__).parents[2] / "conf"
PAGE = "reference/configuration.md"
COMMANDS = ("train", "evaluate")


def write_configuration() -> str:
    """Write the keys of both commands, then each group with its choices."""
    parts = []
    for command in COMMANDS:
        file = ConfFile(CONF / f"{command}.yaml")
        parts.append(f"## Keys of {command}.py {{ #{command} }}")
        parts.append(write_keys(file.list_keys(), command))
    defaults = _list_defaults()
    for group in defaults:
        parts += _write_group(group, defaults[group])
    return "\n\n".join(parts)


def _list_defaults() -> dict[str, list[str]]:
    """Return every group with the choices that are made without the user."""
    defaults = {}
    for command in COMMANDS:
        chosen = ConfFile(CONF / f"{command}.yaml").list_defaults()
        for group in list_groups(CONF, command):
            of_command = ", ".join(f"`{name}`" for name in chosen[group] if name != "???")
            defaults.setdefault(group, []).append(f"{command}.py: {of_command or 'none'}")
    return defaults


def _write_group(group: str, defaults: list[str]) -> list[str]:
    parts = [f"## {group} {{ #{group} }}", f"Default of {'; of '.join(defaults)}."]
    for choice, file in list_choices(CONF, group).items():
        title = f"{group}={choice}"
        parts.append(f"### {title} {{ #{title} }}")
        if file.summary:
            parts.append(f"{html.escape(file.summary, quote=False)}.")
        keys = file.list_keys(f"{file.package}." if file.package else "")
        parts.append(write_keys(keys, title))
    return parts


def write_keys(keys: Iterable[Key], owner: str) -> str:
    """Write a list of keys; the anchor of a key is `<owner>.<key>`."""
    lines = []
    for key in keys:
        if key.is_wired:
            continue
        default = " ".join(key.default.split())
        shown = f"`{key.name}`" + (f" = `{default}`" if default else "")
        comment = html.escape(key.comment, quote=False)
        lines.append(f'<span id="{owner}.{key.name}"></span>{shown}\n:   {comment}\n')
    return "\n".join(lines)


def find_file(path: Path) -> str:
    """Return the page and the anchor of a file or folder of conf/."""
    parts = [Path(part).stem for part in path.relative_to(CONF).parts]
    if not parts or parts[0] == "hydra":
        return PAGE
    return f"{PAGE}#{'='.join(parts)}"
