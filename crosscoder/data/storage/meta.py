"""The schema of a store's meta.json.

The file may come from anyone, so it is validated whenever it is read.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from filelock import FileLock
from pydantic import Field
from typing_extensions import TypedDict

from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError, first_line, translate_write_errors
from crosscoder.io.files import read_bytes
from crosscoder.io.links import require_own_file
from crosscoder.io.run_dir import write_json
from crosscoder.io.schema import Number, Object, Plain, Size, check_content, parse_json
from crosscoder.values import is_whole

FORMAT = 1
MAX_WIDTH = 2**20  # of a source; no model comes near it
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Names = Annotated[list[str], Field(min_length=2, max_length=2)]


class Entry(TypedDict):
    """Entry of one source."""

    width: Width
    lm: str
    hookpoint: str
    checksums: list[str | None]
    key: NotRequired[str]
    model: NotRequired[Plain]
    median_norm: NotRequired[Annotated[Number, Field(gt=0)]]


class Meta(TypedDict):
    """Entries that are validated; programs that write a store may add others."""

    format: int
    sources: Annotated[dict[str, Entry], Field(min_length=1)]
    contrast: NotRequired[Names | None]
    dtype: Literal["float32", "bfloat16", "float16", "float64"]
    counts: Annotated[list[Size], Field(min_length=1)]
    seq_len: Size
    tokens_checksums: list[str | None]
    tokens_sha256: NotRequired[str]
    pair: NotRequired[Object | None]
    packing: NotRequired[Literal["positions", "mask", "rows"]]
    kept: NotRequired[dict[str, Number]]


def read_meta(path: Path) -> dict[str, Any]:
    """Read a store's meta.json.

    Raises:
        UserError: The file is missing, does not describe a store, or has another format version.
    """
    meta = parse_json(read_bytes(path), Object, path.name)
    validate_meta(meta, path.name)
    return meta


def write_new_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write the meta.json of a new store, unless another process is first.

    Args:
        folder: Folder of the store, which is created.
        meta: The content without `format` and without checksums, which are added as shards are.

    Raises:
        UserError: The content does not describe a store, or the folder cannot be created.
    """
    file = folder / "meta.json"
    no_checksums = [None] * len(meta["counts"])
    entries = {
        name: {**entry, "checksums": no_checksums} for name, entry in meta["sources"].items()
    }
    content = {"format": FORMAT, **meta, "sources": entries, "tokens_checksums": no_checksums}
    try:
        validate_meta(content, file.name)  # never create a store that could not be opened
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError) as error:
        raise UserError(
            f"cannot create an activation store in {folder}: {first_line(error)}"
        ) from error
    require_own_file(folder / ".lock")
    with FileLock(folder / ".lock"):
        if not file.exists():
            write_json(file, content)


def validate_meta(meta: Any, where: str) -> None:
    """Refuse a meta.json that does not describe a store, or has another format version.

    Args:
        meta: Parsed content of the file.
        where: Name of the file, for the message.

    Raises:
        UserError: With what is wrong, and where.
    """
    version = check_content(meta, Object, where).get("format")
    if version != FORMAT:
        raise UserError(f"{where} has format {ascii(version)[:20]}; this version reads {FORMAT}")
    check_content(meta, Meta, where)
    n_shards = len(meta["counts"])
    for column in (*meta["sources"], "tokens"):
        n_checksums = len(get_checksums(meta, column))
        if n_checksums != n_shards:
            raise UserError(
                f"{where}: expected one checksum of {column} per shard, "
                f"found {n_checksums} checksums for {n_shards} shards"
            )
    make_sources(meta)


def is_size(n: Any) -> bool:
    """Tell whether a value is an integer of at least 1."""
    return is_whole(n) and n >= 1


def make_sources(meta: dict[str, Any]) -> Sources:
    """Return the sources that a store holds."""
    items = [
        Source(name, entry["width"], entry["lm"], entry["hookpoint"])
        for name, entry in meta["sources"].items()
    ]
    diff_pair = meta.get("contrast")
    return Sources(tuple(items), tuple(diff_pair) if diff_pair else None)


def get_checksums(meta: dict[str, Any], column: str) -> list[str | None]:
    """Return the checksums of the shards of a source (or of "tokens"); None for missing shards."""
    if column == "tokens":
        return meta["tokens_checksums"]
    return meta["sources"][column]["checksums"]
