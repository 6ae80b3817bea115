"""Results beside a crosscoder's weights: find them in its folder or on the hub, or pack them.

On the hub they have the places that they have in a run folder:

    results/latents.parquet   results/contexts.parquet   report.html
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError, translate_read_errors
from crosscoder.io.checksum import combine_checksums, compute_sha256
from crosscoder.io.files import make_folders, read_text, require_regular
from crosscoder.io.hub import download_snapshot
from crosscoder.io.hub_cache import parse_cache_path
from crosscoder.io.links import require_inside
from crosscoder.io.own_paths import find_paths, remove_paths, shorten_paths
from crosscoder.io.paths import looks_like_path
from crosscoder.io.run_dir import Run

META_KEY = b"crosscoder"  # of the metadata in a Parquet file
HASH = "crosscoder_sha256"  # in these metadata
TABLES = ("results/latents.parquet", "results/contexts.parquet")
REPORT = "report.html"


def find_file(place: str | Path, name: str) -> Path:
    """Find a file that belongs to a crosscoder; it is downloaded if it is on the hub.

    Args:
        place: The crosscoder's folder, its run folder, or its id on the hub.
        name: Path of the file in the run, e.g. `results/latents.parquet`.

    Raises:
        UserError: There is no such file.
    """
    folder = Path(place)
    for parent in (folder, folder.parent) if folder.name == "crosscoder" else (folder,):
        if (parent / name).exists():
            return require_inside(parent, parent / name)
    repo, revision = parse_cache_path(folder)
    if repo is None:
        if folder.exists() or looks_like_path(str(place)) or "/" not in str(place):
            raise UserError(f"no {name} at {place}: evaluate the run with eval=[diff] first")
        repo = str(place)
    root = download_snapshot(repo, [name], revision)
    if not (root / name).exists():
        raise UserError(
            f"'{repo}' has no {name}, or it cannot be downloaded now: "
            "its owner uploads it with push_to_hub(…, results=True)"
        )
    return require_inside(root, root / name)


def pack_results(run: Run, weights: Mapping[str, Path], target: Path) -> list[str]:
    """Copy the tables and the report of a run for an upload, without paths of this machine.

    The uploaded `config.json` differs from the run's, so the tables get the hash of the uploaded
    files. Otherwise they would seem to belong to another crosscoder.

    Args:
        run: The run.
        weights: The uploaded files of the crosscoder, by name.
        target: Folder to copy into.

    Returns:
        Names of the copied files.

    Raises:
        UserError: The run has no table of latents, or one of another crosscoder.
    """
    uploaded = combine_checksums({name: compute_sha256(path) for name, path in weights.items()})
    own = combine_checksums({name: _hash_own(run, name) for name in weights})
    copied = []
    for name in TABLES:
        source = run.path(*name.split("/"))
        if not source.exists():
            if name == TABLES[0]:
                raise UserError(f"no {name} in {run.folder}: evaluate with eval=[diff] first")
            continue
        _copy_table(source, target / name, own, uploaded)
        copied.append(name)
    if run.report.exists():
        paths = {str(run.folder.absolute()), str(Path.home())}
        if run.config.exists():
            paths |= find_paths(read_text(run.config))
        page = shorten_paths(read_text(run.report), paths)
        (target / REPORT).write_text(page, encoding="utf-8")
        copied.append(REPORT)
    return copied


def _hash_own(run: Run, name: str) -> str:
    path = run.path("crosscoder", name)
    if not path.is_file():
        raise UserError(f"{run.folder} is no run: it has no crosscoder/{name}")
    return compute_sha256(path)


def _copy_table(source: Path, target: Path, own: str | None, uploaded: str | None) -> None:
    """Copy a Parquet file, with the hash of the uploaded crosscoder in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_regular(source)
    try:
        with translate_read_errors(source):
            table = pq.read_table(source, partitioning=None)  # pyright: ignore[reportArgumentType]
        meta: dict[str, Any] = json.loads((table.schema.metadata or {}).get(META_KEY, b"{}"))
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"no table at {source}: {str(error)[:200]}") from error
    if meta.get(HASH) not in (None, own):
        raise UserError(
            f"{source} is about another crosscoder than the one in its run: evaluate it again"
        )
    if HASH in meta:
        meta[HASH] = uploaded
    kept = {**(table.schema.metadata or {}), META_KEY: json.dumps(remove_paths(meta)).encode()}
    make_folders(target.parent)
    pq.write_table(table.replace_schema_metadata(kept), target)
