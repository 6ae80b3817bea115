"""The LatentTable: one row per latent, one column per thing known about it, on disk as `latents.parquet`.

A column is named `metric` or `metric/source` or `metric/…/source`; with the sources swapped, every column is that of the other
source (`R` and `Δ` become 1 − themselves). What produced it (sources, contrast, tokens, rule) is kept in the file.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crosscoder.errors import UserError, first_line

META = b"crosscoder"


@dataclass(frozen=True)
class LatentTable:
    """Rows of a pandas frame; every method gives a new table.

    Args:
        frame: one row per latent; the column `latent` is its index in the dictionary.
        meta: what was analysed; plain JSON.
    """

    frame: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Any], meta: dict[str, Any]) -> "LatentTable":
        """From columns of equal length, the first row being latent 0."""
        frame = pd.DataFrame(dict(columns))
        frame.insert(0, "latent", np.arange(len(frame)))
        return cls(frame, meta)

    def __len__(self) -> int:
        return len(self.frame)

    def with_columns(self, *columns: Mapping[str, Any]) -> "LatentTable":
        """The same with more columns, one entry per row each."""
        return LatentTable(
            self.frame.assign(**{name: column for more in columns for name, column in more.items()}), self.meta
        )

    def __getitem__(self, column: str) -> np.ndarray:
        """One column as an array."""
        if column not in self.frame:
            raise UserError(f"the table has no column '{column}'; it has {', '.join(self.columns)}")
        return self.frame[column].to_numpy(copy=True)

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    @property
    def prompt_contrasts(self) -> list[str]:
        """Columns that tell two kinds of prompts apart (prompts.py): those that have p-values beside them."""
        return [name for name in self.columns if {f"{name}/p", f"{name}/holm"} <= set(self.columns)]

    def query(self, condition: str) -> "LatentTable":
        """Rows for which a condition holds, e.g. "density > 1e-4 and `norm/chat` > 1" (a `/` needs backticks)."""
        try:  # of its columns alone: pandas would also look for names among this module's
            return LatentTable(self.frame.query(condition, local_dict={}, global_dict={}), self.meta)
        except (ValueError, SyntaxError, KeyError, NameError, TypeError, AttributeError) as error:
            known = ", ".join(self.columns)
            raise UserError(f"cannot query '{condition}': {error}; columns (in backticks): {known}") from error

    def sort(self, by: str, ascending: bool = False) -> "LatentTable":
        """Largest first, or smallest; latents without a value come last, ties stay in order."""
        self[by]
        return LatentTable(
            self.frame.sort_values(by, ascending=ascending, kind="stable", na_position="last"), self.meta
        )

    def top(self, by: str, n: int = 20, ascending: bool = False) -> "LatentTable":
        """The first `n` rows by a column."""
        return LatentTable(self.sort(by, ascending).frame.head(n), self.meta)

    def rank(self, by: str, ascending: bool = False) -> dict[int, int]:
        """Each latent's place by a column, 1 for the first."""
        return {int(latent): place for place, latent in enumerate(self.sort(by, ascending)["latent"], 1)}

    def find_chat_specific_features(self, threshold: float | None = None) -> "LatentTable":
        """Latents that only the contrast's first source has, by descending difference energy.

        Without a threshold by the verdict; with one by Δ_norm > threshold alone, as Minder et al. 2025 with 0.9, which is known
        to include artefacts.
        """
        if threshold is not None:
            return self.query(f"delta_norm > {threshold} and not dead").sort("difference_energy")
        return self.where("verdict", f"{self.meta['contrast'][0]}-specific").sort("difference_energy")

    def where(self, column: str, value: Any) -> "LatentTable":
        """Rows in which a column has a value: text of files goes here, since `query` runs what it is given."""
        return LatentTable(self.frame.loc[self[column] == value], self.meta)

    def rows(self) -> list[dict[str, Any]]:
        """Plain dicts."""
        return self.frame.to_dict("records")  # type: ignore[return-value]

    def save(self, path: str | Path) -> Path:
        """Write one parquet file, whole or not at all."""
        return save_parquet(self.frame, path, self.meta)

    @classmethod
    def load(cls, path: str | Path) -> "LatentTable":
        """Read what `save` wrote."""
        return cls(*load_parquet(path))


def save_parquet(frame: pd.DataFrame, path: str | Path, meta: Mapping[str, Any]) -> Path:
    """A frame with JSON beside it in one file, written aside and then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(
        table.replace_schema_metadata({**(table.schema.metadata or {}), META: json.dumps(meta).encode()}), aside
    )
    aside.replace(path)
    return path


def load_parquet(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What `save_parquet` wrote."""
    try:
        table = pq.read_table(path)
        return table.to_pandas(), json.loads((table.schema.metadata or {})[META])
    except (OSError, KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UserError(f"no table at {path}: {first_line(error)}") from error
