"""Tables made small for a page: numbers as base64 of little-endian arrays, strings as codes into a list of words.

The other side is `assets/data.js`. Packed this way 60,000 contexts of 24 tokens take 8 MB, and a browser reads them in no time.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from crosscoder.report.tokens import readable

LATENTS_PER_CHUNK = 256
LEVELS = 65535  # an activation is stored as a fraction of the largest in its context


def embedded(content: Any) -> Markup:
    """JSON for a `<script>`: no text in it can end the script."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def packed(values: Any) -> dict[str, str]:
    """Numbers, in the smallest of the types that the page knows."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = values.astype("<f4")
    else:
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        fits = (("<u1", 0, 2**8), ("<u2", 0, 2**16), ("<i4", -(2**31), 2**31))
        # what does not fit is no index, and may lose its last digits
        values = values.astype(next((name for name, least, end in fits if least <= low and high < end), "<f4"))
    return {"type": values.dtype.str[1:], "data": base64.b64encode(values.tobytes()).decode()}


class Vocabulary:
    """Every token that occurs in the page, once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def codes(self, words: np.ndarray) -> np.ndarray:
        """Places of words; new ones are added."""
        inverse, unique = pd.factorize(words, use_na_sentinel=False)
        return np.array([self.places.setdefault(str(word), len(self.places)) for word in unique], dtype=np.int64)[
            inverse
        ]

    def words(self) -> list[str]:
        return readable(list(self.places))


def pack_columns(frame: pd.DataFrame, vocabulary: Vocabulary) -> dict[str, Any]:
    """Every column by its kind: numbers, a few different words, or lists of tokens."""
    return {str(name): _pack_column(column, vocabulary) for name, column in frame.items()}


def _pack_column(column: pd.Series, vocabulary: Vocabulary) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return packed(column.to_numpy())
    if len(column) and isinstance(column.iloc[0], list | np.ndarray):
        return {"lengths": packed(_lengths(column)), "tokens": packed(vocabulary.codes(_flat(column, object)))}
    codes, words = pd.factorize(column.astype(str))
    return {"words": list(words), "codes": packed(codes)}


def pack_contexts(frame: pd.DataFrame, latents: np.ndarray, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    """Chunks of the contexts of so many latents each, in the order of the table's rows and, within a latent, their own."""
    rows = pd.Series(np.arange(len(latents)), index=latents).reindex(frame["latent"]).fillna(-1).to_numpy(np.int64)
    order = np.argsort(rows, kind="stable")
    for first in range(0, len(latents), LATENTS_PER_CHUNK):
        last = min(first + LATENTS_PER_CHUNK, len(latents))
        places = order[slice(*np.searchsorted(rows[order], [first, last]))]
        part = {str(name): column for name, column in frame.iloc[places].items()}
        lengths = _lengths(part["tokens"])
        activations = _flat(part["activations"], float)
        peaks = np.array([max(values, default=0.0) for values in part["activations"]], dtype=float)
        levels = activations * LEVELS / np.repeat(np.maximum(peaks, 1e-30), lengths)
        yield {
            "counts": packed(np.bincount(rows[places] - first, minlength=last - first)),
            **{
                name: _pack_column(part[name], vocabulary) for name in ("group", "kind", "document", "position", "peak")
            },
            "max": packed(peaks),
            "lengths": packed(lengths),
            "tokens": packed(vocabulary.codes(_flat(part["tokens"], object))),
            "levels": packed(np.rint(levels).clip(0, LEVELS).astype(np.int64)),
        }


def _lengths(lists: pd.Series) -> np.ndarray:
    return np.array([len(values) for values in lists], dtype=np.int64)


def _flat(lists: pd.Series, dtype: type) -> np.ndarray:
    return np.concatenate([np.asarray(values, dtype=dtype) for values in lists]) if len(lists) else np.empty(0, dtype)
