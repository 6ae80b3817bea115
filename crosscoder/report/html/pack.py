"""Pack tables for the page: numbers as base64 of little-endian arrays, words as codes.

`assets/data.js` unpacks them. In this form 100,000 contexts of 40 tokens take 16 MB and are
read quickly.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from crosscoder.lm.readable_tokens import make_readable

LATENTS_PER_CHUNK = 256
LEVELS = 255  # an activation is stored as a fraction of the largest in its context, in one byte
# type, smallest value, and the first value that is too large
INTEGER_TYPES = (("<u1", 0, 2**8), ("<u2", 0, 2**16), ("<i4", -(2**31), 2**31))
CONTEXT_COLUMNS = ("group", "kind", "document", "position", "peak")


def embed_json(content: Any) -> Markup:
    """Return JSON for a `<script>`, escaped so that no text in it can end the script."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 (escaped here)


def pack_numbers(values: Any) -> dict[str, str]:
    """Pack numbers in the smallest of the types that the page knows."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 are drawn as infinite
            values = values.astype("<f4")
    else:
        values = values.astype(_smallest_type(values))
    return {"type": values.dtype.str[1:], "data": base64.b64encode(values.tobytes()).decode()}


class Vocabulary:
    """Every token that occurs in the page, once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def encode(self, words: np.ndarray) -> np.ndarray:
        """Return the codes of words; new words are added."""
        inverse, unique = pd.factorize(words, use_na_sentinel=False)
        codes = [self.places.setdefault(str(word), len(self.places)) for word in unique]
        return np.array(codes, dtype=np.int64)[inverse]

    def list_words(self) -> list[str]:
        """List the words by code, readable."""
        return make_readable(list(self.places))


def pack_columns(frame: pd.DataFrame, vocabulary: Vocabulary) -> dict[str, Any]:
    """Pack every column by its kind: numbers, a few different words, or lists of tokens."""
    return {str(name): _pack_column(column, vocabulary) for name, column in frame.items()}


def pack_contexts(
    frame: pd.DataFrame, latents: np.ndarray, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    """Pack the contexts in chunks of LATENTS_PER_CHUNK latents.

    Contexts follow the order of the table's rows and, within a latent, their own.
    """
    row_by_latent = pd.Series(np.arange(len(latents)), index=latents)
    rows = row_by_latent.reindex(frame["latent"]).fillna(-1).to_numpy(np.int64)
    order = np.argsort(rows, kind="stable")
    for first in range(0, len(latents), LATENTS_PER_CHUNK):
        last = min(first + LATENTS_PER_CHUNK, len(latents))
        begin, end = np.searchsorted(rows[order], [first, last])
        places = order[begin:end]
        counts = np.bincount(rows[places] - first, minlength=last - first)
        yield {"counts": pack_numbers(counts), **_pack_chunk(frame.iloc[places], vocabulary)}


def _pack_chunk(frame: pd.DataFrame, vocabulary: Vocabulary) -> dict[str, Any]:
    columns = {str(name): column for name, column in frame.items()}
    lengths = _measure_lengths(columns["tokens"])
    activations = _concatenate(columns["activations"], float)
    peaks = np.array([max(values, default=0.0) for values in columns["activations"]], dtype=float)
    levels = activations * LEVELS / np.repeat(np.maximum(peaks, 1e-30), lengths)
    return {
        **{name: _pack_column(columns[name], vocabulary) for name in CONTEXT_COLUMNS},
        "max": pack_numbers(peaks),
        "lengths": pack_numbers(lengths),
        "tokens": pack_numbers(vocabulary.encode(_concatenate(columns["tokens"], object))),
        "levels": pack_numbers(np.rint(levels).clip(0, LEVELS).astype(np.int64)),
    }


def _pack_column(column: pd.Series, vocabulary: Vocabulary) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return pack_numbers(column.to_numpy())
    if len(column) and isinstance(column.iloc[0], list | np.ndarray):
        tokens = vocabulary.encode(_concatenate(column, object))
        return {"lengths": pack_numbers(_measure_lengths(column)), "tokens": pack_numbers(tokens)}
    codes, words = pd.factorize(column.astype(str))
    return {"words": list(words), "codes": pack_numbers(codes)}


def _smallest_type(values: np.ndarray) -> str:
    """Return the smallest integer type for values; float32 for large ones, which are no indices."""
    low = int(values.min()) if values.size else 0
    high = int(values.max()) if values.size else 0
    for name, smallest, too_large in INTEGER_TYPES:
        if smallest <= low and high < too_large:
            return name
    return "<f4"


def _measure_lengths(lists: pd.Series) -> np.ndarray:
    return np.array([len(values) for values in lists], dtype=np.int64)


def _concatenate(lists: pd.Series, dtype: type) -> np.ndarray:
    if not len(lists):
        return np.empty(0, dtype)
    return np.concatenate([np.asarray(values, dtype=dtype) for values in lists])
