"""Read keys, defaults and comments from the YAML files in conf/.

The comments are the one description of a setting. A comment stands behind a key, continued in the
same column of the next lines, or in the lines above it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

COMMENT = re.compile(r"\s*#\s?(.*)")
PACKAGE = re.compile(r"# @package (\S+)")
# a sentence ends before a capital letter, but not after "et al."
SENTENCE_END = re.compile(r"(?<!\bal)(?<!\be\.g)\.\s+(?=[A-Z])")
HIDDEN = ("defaults", "hydra", "_target_", "_partial_", "_recursive_", "_convert_")


@dataclass(frozen=True)
class Key:
    """A setting in a YAML file.

    Args:
        name: Its name on the command line, e.g. `init.decoder_norm`.
        default: Its value as the file has it; empty for a key with further keys.
        comment: Its description; empty if there is none.
    """

    name: str
    default: str
    comment: str

    @property
    def is_wired(self) -> bool:
        """Whether a nested key only passes on another setting, and is not set by users."""
        return "." in self.name and self.default.startswith("${")


@dataclass(frozen=True)
class ConfFile:
    """A YAML file of conf/."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def package(self) -> str:
        """Return where its keys are in the configuration; empty for the top."""
        found = PACKAGE.match(self.text)
        package = found[1] if found else self.path.parent.name
        return "" if package == "_global_" else package

    @property
    def summary(self) -> str:
        """Return the first sentence of the comment at its beginning."""
        words = []
        for line in self.lines:
            found = COMMENT.fullmatch(line)
            if not found:
                break
            if not PACKAGE.match(line):
                words.append(found[1])
        return SENTENCE_END.split(" ".join(words))[0].rstrip(".")

    def list_keys(self, prefix: str = "") -> list[Key]:
        """List the keys that users may set, with `prefix` before their names."""
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        return list(self._walk(root, prefix)) if root else []

    def list_defaults(self) -> dict[str, list[str]]:
        """Return the default choices of each group."""
        content = yaml.safe_load(self.text) or {}
        chosen: dict[str, list[str]] = {}
        for entry in content.get("defaults", ()):
            for group, choice in entry.items() if isinstance(entry, dict) else ():
                names = choice if isinstance(choice, list) else [choice]
                chosen[group] = [name for name in names if name]
        return chosen

    def _walk(self, node: yaml.Node, prefix: str) -> Iterator[Key]:
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                if isinstance(item, yaml.MappingNode):
                    yield from self._walk(item, f"{prefix}{number}.")
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            if key.value in HIDDEN:
                continue
            name = f"{prefix}{key.value}"
            is_scalar = isinstance(value, yaml.ScalarNode)
            is_block = not is_scalar and not value.flow_style
            is_text_block = is_scalar and value.style in ("|", ">")
            place = key.end_mark if is_block or is_text_block else value.end_mark
            default = ""
            if not is_block:
                default = self.text[value.start_mark.index : value.end_mark.index]
            yield Key(name, default, self._find_comment(key.start_mark, place))
            if is_block or isinstance(value, yaml.MappingNode):
                yield from self._walk(value, f"{name}.")

    def _find_comment(self, key: yaml.Mark, place: yaml.Mark) -> str:
        """Return the comment behind a place, or above a key."""
        behind = self.lines[place.line][place.column :].lstrip(": >|+-")
        found = COMMENT.fullmatch(behind)
        if found:
            column = self.lines[place.line].index("#", place.column)
            words = [found[1]]
            for line in self.lines[place.line + 1 :]:
                if line.find("#") != column or line[:column].strip():
                    break
                words.append(line[column:].lstrip("# "))
            return " ".join(words)
        words = []
        for line in reversed(self.lines[: key.line]):
            found = COMMENT.fullmatch(line)
            if not found or line.index("#") != key.column:
                return " ".join(reversed(words))
            words.append(found[1])
        return ""  # the comment at the beginning is of the file


def list_choices(conf: Path, group: str) -> dict[str, ConfFile]:
    """Return the files of a group by name."""
    return {path.stem: ConfFile(path) for path in sorted((conf / group).glob("*.yaml"))}


def list_groups(conf: Path, config: str) -> list[str]:
    """List the groups from which a command's configuration is composed."""
    defaults = ConfFile(conf / f"{config}.yaml").list_defaults()
    return [group for group in defaults if not group.startswith("override ")]


def list_all_keys(conf: Path, config: str) -> dict[str, list[str]]:
    """Return every key that a command may have, and the choices it belongs to, `group=name` each.

    A key that is always there belongs to no choice.
    """
    owners: dict[str, list[str]] = {}
    for group in list_groups(conf, config):
        for name, file in list_choices(conf, group).items():
            if not file.package:  # it changes settings of others, and has none of its own
                continue
            for key in file.list_keys(f"{file.package}."):
                owners.setdefault(key.name, []).append(f"{group}={name}")
    for key in ConfFile(conf / f"{config}.yaml").list_keys():
        owners[key.name] = []
    for group in list_groups(conf, config):
        owners[group] = []
    return owners
