"""Read the files of a dictionary's folder without running anything in them.

Every failure of a file becomes a `UserError` that names the file; nothing is half-read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from crosscoder.errors import UserError, first_line
from crosscoder.formats.tensor_files import READERS, read_shapes
from crosscoder.formats.tensors import Tensors
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import read_bytes
from crosscoder.io.schema import parse_json

WEIGHTS = tuple(READERS)  # suffixes of files with tensors
MAX_SETTINGS_BYTES = 64 * 2**20
MAX_REASON = 200  # characters of a parser's message


@dataclass(frozen=True)
class Folder:
    """Folder with the files of one dictionary.

    Args:
        path: Folder on this machine.
        origin: Text that names layers, widths and models: a hub id with its folder, or the path.
        repo: Hub repository, if the files came from the hub.
        revision: Commit of the repository.
        chosen: File with tensors that the user named; the folder's other ones are then ignored.
        digests: sha256 of every file that was read, by name.
    """

    path: Path
    origin: str = ""
    repo: str | None = None
    revision: str | None = None
    chosen: str | None = None
    digests: dict[str, str] = field(default_factory=dict, compare=False)

    def has_file(self, pattern: str) -> bool:
        """Tell whether a file matches: a name (`*` matches any text), or a path `folder/name`."""
        if "/" in pattern:
            return self.chosen is None and (self.path / pattern).is_file()
        return bool(self.list_names(pattern))

    def list_names(self, pattern: str = "*") -> list[str]:
        """List file names that match a pattern, in natural order (2 before 10)."""
        names = []
        for file in self.path.iterdir():
            is_ignored = self.chosen not in (None, file.name) and file.name.endswith(WEIGHTS)
            if file.is_file() and fnmatchcase(file.name, pattern) and not is_ignored:
                names.append(file.name)
        return sorted(names, key=_natural_key)

    def match_origin(self, pattern: str) -> re.Match | None:
        """Match a whole step of the origin, e.g. `layer_(\\d+)`; the last step that matches."""
        found = list(re.finditer(rf"(?<![^/]){pattern}(?![^/])", self.origin))
        return found[-1] if found else None

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object."""
        return self._read_settings(name, _parse_json)

    def read_yaml(self, name: str) -> dict[str, Any]:
        """Read a YAML mapping of plain values."""
        content = self._read_settings(name, _parse_yaml)
        if not isinstance(content, dict):
            raise UserError(f"{self.path / name}: expected a mapping of settings by name")
        return content

    def read_tensors(self, name: str, lengths: Mapping[str, int] | None = None) -> Tensors:
        """Read the tensors of a `.safetensors`, `.npz` or torch file.

        Args:
            name: File name.
            lengths: Lengths of the axes that are known already.
        """
        content = self._read(name, READERS[Path(name).suffix])
        return Tensors(str(self.path / name), content, lengths)

    def read_shapes(self, name: str) -> dict[str, list[int]]:
        """Read names and shapes of a file's tensors."""
        return self._read(name, read_shapes)

    def _read_settings(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        def read(path: Path) -> Any:
            if path.stat().st_size > MAX_SETTINGS_BYTES:
                raise ValueError(f"settings of more than {MAX_SETTINGS_BYTES >> 20} MB")
            return parse(read_bytes(path))

        return self._read(name, read)

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{self.path} lacks {name}")
        try:
            content = read(path)
        except Exception as error:  # parsers raise many kinds, and all mean that the file is bad
            reason = first_line(error)[:MAX_REASON]
            raise UserError(f"{path} cannot be read: {reason}") from error
        self.digests[name] = compute_sha256(path)
        return content


def _parse_json(content: bytes) -> dict[str, Any]:
    return parse_json(content, dict[str, Any], "settings")


def _parse_yaml(content: bytes) -> Any:
    """Parse YAML with aliases, which PyYAML writes for a value that occurs twice."""
    return yaml.safe_load(content.decode("utf-8"))


def _natural_key(name: str) -> list[int | str]:
    """Return a sort key that compares digits as numbers."""
    pieces = re.split(r"(\d+)", name)
    return [int(piece) if piece.isdecimal() else piece for piece in pieces]
