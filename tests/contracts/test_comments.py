"""Comments in conf/ explain every setting of the commands and every choice: --help prints them."""

import re
from collections.abc import Iterator

import pytest

from crosscoder.cli.conf_files import ConfFile, Key, list_choices, list_groups
from tests.helpers.configs import CONF

COMMANDS = ["train", "evaluate"]
FILES = [
    path
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent.name != "help"  # texts, not settings
]


def list_unexplained(file: ConfFile, prefix: str = "") -> Iterator[str]:
    """Yield the keys without a comment.

    A key inside of braces, or with braces behind it, is explained with the key that it belongs to.
    """
    keys = {key.name: key for key in file.list_keys(prefix)}
    for key in keys.values():
        passes_on = key.default.startswith("${") and file.path.parent != CONF
        if key.comment or key.is_wired or passes_on:
            continue
        parent = find_parent(key, keys)
        if parent is None or not parent.comment or not is_in_braces(key, file):
            yield key.name


def find_parent(key: Key, keys: dict[str, Key]) -> Key | None:
    """Return the nearest key above one that is not in braces itself."""
    name = key.name
    while "." in name:
        name = name.rpartition(".")[0]
        if name in keys and keys[name].comment:
            return keys[name]
    return None


def is_in_braces(key: Key, file: ConfFile) -> bool:
    name = re.escape(key.name.rpartition(".")[2])
    inside = re.compile(rf"\{{[^#]*\b{name}:|^\s*(- )?{name}: \{{")
    return any(inside.search(line) for line in file.lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_of_every_file_has_a_comment(path):
    file = ConfFile(path)
    if file.package or path.parent == CONF:
        assert list(list_unexplained(file)) == []
        return
    # it changes settings of others, which are explained there
    explained = set()
    for other in map(ConfFile, FILES):
        if other.package or other.path.parent == CONF:
            prefix = f"{other.package}." if other.path.parent != CONF else ""
            unexplained = set(list_unexplained(other, prefix))
            explained |= {key.name for key in other.list_keys(prefix)} - unexplained
    names = [key.name for key in file.list_keys() if not key.comment]
    leaves = [name for name in names if not any(one.startswith(f"{name}.") for one in names)]
    assert [name for name in leaves if name not in explained] == []


def test_keys_without_a_comment_are_found(tmp_path):
    path = tmp_path / "group" / "file.yaml"
    path.parent.mkdir()
    path.write_text(
        "# A file.\na: 1  # explained\nb: 2\nc:  # explained\n  d: {e: 3}\n  f: 4\ng: {h: 5}\n"
    )
    assert list(list_unexplained(ConfFile(path))) == ["b", "c.f", "g", "g.h"]


@pytest.mark.parametrize("config", COMMANDS)
def test_every_key_has_a_comment(config):
    keys = ConfFile(CONF / f"{config}.yaml").list_keys()
    assert [key.name for key in keys if not key.is_wired and not key.comment] == []


@pytest.mark.parametrize("config", COMMANDS)
def test_every_choice_begins_with_a_comment(config):
    for group in list_groups(CONF, config):
        choices = list_choices(CONF, group)
        assert choices
        assert [name for name, file in choices.items() if not file.summary] == []


@pytest.mark.parametrize("config", COMMANDS)
def test_every_mandatory_value_has_an_example(config):
    for group in list_groups(CONF, config):
        for file in [ConfFile(CONF / f"{config}.yaml"), *list_choices(CONF, group).values()]:
            for key in file.list_keys():
                if key.default.strip("\"'") == "???":
                    assert "e.g. " in key.comment, key.name
