"""Select the results that belong to the crosscoder in a run folder.

A result carries the hash of the crosscoder that it was computed from. A result without a hash,
from an older version, is shown with a note.
"""

from collections.abc import Mapping
from typing import Any

from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.formats.readers import own
from crosscoder.installation import name_command
from crosscoder.io.checksum import combine_checksums, compute_sha256
from crosscoder.io.run_dir import Run

HASH_KEY = "crosscoder_sha256"  # in the meta of a result or table


def find_crosscoder_sha256(run: Run) -> str | None:
    """Return the hash of a run's crosscoder, or of a crosscoder's own folder.

    A crosscoder of another layout has no such hash: the one of the newest result stands for it.
    """
    for folder in (("crosscoder",), ()):
        files = {name: run.path(*folder, name) for name in own.FILES}
        if all(path.is_file() for path in files.values()):
            return combine_checksums({name: compute_sha256(path) for name, path in files.items()})
    newest_first = sorted(
        run.list_results(), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in newest_first:
        try:
            found = Result.load(path).meta.get(HASH_KEY)
        except UserError:
            continue  # reported where the result is shown
        if isinstance(found, str):
            return found
    return None


def is_other(meta: Mapping[str, Any], expected: str | None) -> bool:
    """Tell whether a result belongs to another crosscoder than the expected one."""
    found = meta.get(HASH_KEY)
    return found is not None and expected is not None and found != expected


def require_current(name: str, meta: Mapping[str, Any], run: Run) -> None:
    """Refuse a result that belongs to another crosscoder than the one in its folder."""
    if is_other(meta, find_crosscoder_sha256(run)):
        raise UserError(
            f"{name} in {run.results} is about another crosscoder than the one in {run.folder}: "
            f"`{name_command('evaluate')} crosscoder={run.folder}` computes it again"
        )
