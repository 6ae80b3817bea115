"""SHA-256 checksums of files and of sets of files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combine_checksums(checksums: Any) -> str | None:
    """Return one checksum of several files.

    Args:
        checksums: Checksum of each file by its name.

    Returns:
        The combined checksum. None if there are no checksums.
    """
    if not isinstance(checksums, Mapping) or not checksums:
        return None
    plain = {str(name): str(checksum) for name, checksum in checksums.items()}
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
