"""Hard links to, or copies of, the shards of another store."""

import os
import shutil
from pathlib import Path

from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import make_temporary_path, require_regular


def link_shard(source: Path, target: Path, checksum: str | None) -> bool:
    """Link a shard's file to a new place, or copy it where links are not possible.

    Returns:
        Whether the file has the expected checksum; if not, `target` is left as it was.

    Raises:
        OSError: The file is gone, or may not be read.
        UserError: It is not a regular file.
    """
    temporary = make_temporary_path(target)
    try:
        _link_or_copy(source.resolve(), temporary)
        if compute_sha256(temporary) != checksum:
            return False
        temporary.replace(target)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    require_regular(source)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
