"""Published sets of questions as .jsonl files: where they are, whether they are the files that were published, their rows."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError
from crosscoder.hub import snapshot
from crosscoder.jsonl import json_lines
from crosscoder.lm.pinned import sha256

log = logging.getLogger(__name__)
FOLDERS = ("", "sycophancy", "datasets")  # where the publishers' repositories keep the files


class NoValue(UserError):
    """A published row has NaN, which is not JSON, where a value is needed."""


def locate(path: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Stem → file: of one .jsonl file, or of those `names` that a local folder or a data set on the hub (owner/name) has."""
    local = Path(path).expanduser()
    if local.is_file():
        return {local.stem: local}
    if not local.is_dir():
        local = _from_hub(str(path), names)
    found = {name: file for name in names for sub in FOLDERS if (file := local / sub / f"{name}.jsonl").is_file()}
    if not found:
        raise UserError(f"{path} has none of {', '.join(f'{name}.jsonl' for name in names)}")
    return found


def _from_hub(repo: str, names: Sequence[str]) -> Path:
    if repo.startswith((".", "/", "~")) or repo.count("/") != 1 or repo.endswith(".jsonl"):
        raise UserError(f"no file or folder at {repo}, and it is not a hub id (owner/name)")
    patterns = [f"{sub}/{name}.jsonl".removeprefix("/") for name in names for sub in FOLDERS]
    return snapshot(repo, patterns, kind="dataset")


def check(files: Mapping[str, Path], published: Mapping[str, str]) -> dict[str, bool]:
    """Stem → whether the file is the published one of that name, by sha256; one that is not is said in the log.

    Raises:
        UserError: two files have the same content, or one has the content that was published under another's name.
    """
    stems, names = {}, {digest: stem for stem, digest in published.items()}
    for stem, file in files.items():
        if (digest := sha256(file)) in stems:
            raise UserError(f"{stems[digest]}.jsonl and {stem}.jsonl have identical content: one of them is wrong")
        stems[digest] = stem
        if stem in published and names.get(digest, stem) != stem:
            raise UserError(f"{file} is not what its name says: it has the content of {names[digest]}.jsonl")
        if digest not in names:
            log.warning("%s is not a published file that is known here (sha256 %s…)", file, digest[:12])
    return {stem: digest in names for digest, stem in stems.items()}


def rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE, line N", object) of each line."""
    empty = True
    try:
        for where, row in json_lines(file):
            empty = False
            if not isinstance(row, dict):
                raise UserError(f"{where}: not an object with keys")
            yield where, row
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8") from error
    if empty:
        raise UserError(f"{file} is empty")


def need(row: Mapping[str, Any], key: str, where: str, kind: type | tuple[type, ...] = str) -> Any:
    """The value at a key, "a.b" being key b of the object at a."""
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(f"{where} has no '{key}'; it has {', '.join(row) or 'nothing'}")
        value = value[part]
    if isinstance(value, float) and math.isnan(value):
        raise NoValue(f"{where}: '{key}' is NaN")
    if not isinstance(value, kind) or value in ("", []):
        raise UserError(f"{where}: '{key}' cannot be {value!r}")
    return value
