"""Published sets of questions as .jsonl files: find them, verify their hashes, read their rows."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscoder.data.corpora.rows import show_names
from crosscoder.errors import UserError
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.hub import download_snapshot
from crosscoder.io.jsonl import read_json_lines
from crosscoder.io.paths import looks_like_path

log = logging.getLogger(__name__)
SUBFOLDERS = ("", "sycophancy", "datasets")  # of the publishers' repositories


class MissingValue(UserError):
    """Raised where a published row has NaN, which is not JSON, in place of a value."""


def find_files(path: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Return files by stem.

    Args:
        path: One .jsonl file, a local folder, or a data set on the hub (owner/name).
        names: Stems to look for in a folder or a data set.

    Raises:
        UserError: There is no such place, or it has none of the files.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return {local.stem: local}
    if not local.is_dir():
        local = _download(str(path), names)
    found = {}
    for name in names:
        for folder in SUBFOLDERS:
            file = local / folder / f"{name}.jsonl"
            if file.is_file():
                found[name] = file
    if not found:
        raise UserError(f"{path} has none of {', '.join(f'{name}.jsonl' for name in names)}")
    return found


def _download(repo: str, names: Sequence[str]) -> Path:
    if looks_like_path(repo) or "/" not in repo or repo.endswith(".jsonl"):
        raise UserError(f"no file or folder at {repo}, and it is not a hub id (owner/name)")
    patterns = []
    for name in names:
        for folder in SUBFOLDERS:
            patterns.append(f"{folder}/{name}.jsonl".removeprefix("/"))
    return download_snapshot(repo, patterns, kind="dataset")


def verify_files(files: Mapping[str, Path], published: Mapping[str, str]) -> dict[str, bool]:
    """Return by stem whether a file is the published one of that name; warn about others.

    Args:
        files: Files by stem.
        published: Sha256 of the published files by stem.

    Raises:
        UserError: Two files have the same content, or one has the content that was published under
            another name.
    """
    published_stems = {digest: stem for stem, digest in published.items()}
    stems: dict[str, str] = {}
    for stem, file in files.items():
        digest = compute_sha256(file)
        if digest in stems:
            raise UserError(
                f"{stems[digest]}.jsonl and {stem}.jsonl have identical content: "
                "one of them is wrong"
            )
        stems[digest] = stem
        content = published_stems.get(digest)
        if content is None:
            log.warning(
                "%s is not a published file that is known here (sha256 %s…)", file, digest[:12]
            )
        elif stem in published and content != stem:
            raise UserError(f"{file} has a wrong name: it has the content of {content}.jsonl")
    return {stem: digest in published_stems for digest, stem in stems.items()}


def read_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE, line N", object) for each line.

    Raises:
        UserError: The file is empty, or a line is not a JSON object.
    """
    is_empty = True
    for place, row in read_json_lines(file):
        is_empty = False
        if not isinstance(row, dict):
            raise UserError(f"{place}: not an object with keys")
        yield place, row
    if is_empty:
        raise UserError(f"{file} is empty")


def require_value(
    row: Mapping[str, Any], key: str, place: str, kind: type | tuple[type, ...] = str
) -> Any:
    """Return the value at a key, where "a.b" is key b of the object at a.

    Args:
        row: The row.
        key: Key, or keys joined by dots.
        place: File and line, for errors.
        kind: Type, or types, of the value.

    Raises:
        MissingValue: The value is NaN.
        UserError: The key is missing, or its value is empty or of another type.
    """
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise UserError(f"{place} has no '{key}'; it has {show_names(row)}")
        value = value[name]
    if isinstance(value, float) and math.isnan(value):
        raise MissingValue(f"{place}: '{key}' is NaN")
    if not isinstance(value, kind) or value in ("", []):
        raise UserError(f"{place}: '{key}' cannot be {value!r:.60}")
    return value
