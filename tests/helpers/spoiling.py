"""Files of a run folder and of a store with one fault each, as somebody else may provide them."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crosscoder.errors import UserError

DELETED = object()
SURROGATE = "<b>[red]\x1b[31m\ud800"  # markup, an escape sequence and half a pair
DEEP = "deep"  # stands for a list in a list and so on
VALUES = (
    None,
    "x",
    -1,
    0,
    1e308,
    float("inf"),
    10**30,
    True,
    [],
    {},
    ["x"],
    {"a": [1]},
    SURROGATE,
    DEEP,
    DELETED,
)
COLUMNS = (
    None,
    "x",
    SURROGATE[:-1],
    -1,
    2**62,
    1e308,
    np.inf,
    np.nan,
    True,
    [],
    ["x"],
    [1.0],
    [None],
    {"a": 1},
    b"\xff",
)


def spoil_json(content: Any, most: int | None = None) -> Iterator[tuple[str, str]]:
    """Yield the change, and JSON in which one value is replaced by one of VALUES, or is missing.

    With `most` only so many, drawn at random, and always the same.
    """
    every = [
        (place, value)
        for place in _places(content)
        for value in VALUES
        if place or value is not DELETED
    ]
    for place, value in _sample(every, most):
        text = json.dumps(_replace(content, place, value)).replace(json.dumps(DEEP), "[" * 100_000)
        yield f"{'.'.join(map(str, place))} = {str(value)[:20]!r}", text


def spoil_tables(path: Path, most: int | None = None) -> Iterator[tuple[str, pa.Table]]:
    """Yield the change, and a table in which one column has other values, or is missing.

    With `most` only so many, drawn at random, and always the same.
    """
    table = pq.read_table(path)
    said = dict(table.schema.metadata)
    every: list[tuple[str, Callable[[], pa.Table]]] = [
        ("no rows", lambda: table.slice(0, 0)),
        ("every row twice", lambda: pa.concat_tables([table, table])),
        ("nothing said", lambda: table.replace_schema_metadata(None)),
    ]
    for number, name in enumerate(table.column_names):
        every.append((f"{name} deleted", partial(table.remove_column, number)))
        every.append((f"{name} twice", partial(table.append_column, name, table.column(number))))
        for value in COLUMNS:
            column = pa.array([value] * len(table))
            every.append(
                (f"{name} = {str(value)[:20]!r}", partial(table.set_column, number, name, column))
            )
    for text in (b"", b"[", b"\xff", b"[]"):
        for key in (b"crosscoder", b"pandas"):
            every.append(
                (f"{key!r}: {text!r}", partial(table.replace_schema_metadata, said | {key: text}))
            )
    for what, make in _sample(every, most):
        yield what, make()
    for what, text in spoil_json(json.loads(said[b"crosscoder"]), most):
        yield f"said: {what}", table.replace_schema_metadata(said | {b"crosscoder": text.encode()})


def _sample(every: list, most: int | None) -> list:
    return every if most is None or most >= len(every) else random.Random(0).sample(every, most)


def message_of(read: Callable[[], object]) -> str:
    """Return the error message of a refusal, or nothing. Any other error is a bug."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


def _places(content: Any, place: tuple = ()) -> Iterator[tuple]:
    """Every value, the outermost first; of long lists the first ones."""
    yield place
    inner = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in list(inner)[:40]:
        yield from _places(value, (*place, key))


def _replace(content: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(content)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if value is DELETED:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return changed
