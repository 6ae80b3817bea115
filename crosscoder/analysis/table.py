"""The LatentTable: one row per latent, one column per property; on disk `latents.parquet`.

A column is named `metric`, `metric/source` or `metric/…/source`. If the sources are swapped, every
column becomes that of the other source (`R` and `Δ` become 1 − themselves). The file also says how
the table was made: sources, compared pair, tokens, rule.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crosscoder.analysis.descriptions import find_description
from crosscoder.analysis.display import format_html, format_text
from crosscoder.analysis.parquet import load_latents, save_parquet
from crosscoder.errors import UserError
from crosscoder.io.results import TABLES, find_file
from crosscoder.values import require_flag, require_number, require_whole

QUERY_ERRORS = (ValueError, SyntaxError, KeyError, NameError, TypeError, AttributeError)


@dataclass(frozen=True)
class LatentTable:
    """Rows of a pandas frame; every method returns a new table.

    Args:
        frame: One row per latent; the column `latent` is its index in the dictionary.
        meta: What was analysed and how; plain JSON.
        asked: Columns by which the rows were chosen or sorted; they are shown, too.
    """

    frame: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.frame, pd.DataFrame):
            raise UserError(
                "frame is a pandas DataFrame, one row per latent; LatentTable.load(path) reads a "
                f"file; not {self.frame!r:.80}"
            )

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], meta: dict[str, Any]) -> "LatentTable":
        """Make a table of columns of equal length whose first row is latent 0."""
        frame = pd.DataFrame(dict(columns))
        frame.insert(0, "latent", np.arange(len(frame)))
        return cls(frame, meta)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return format_text(self.frame, self.asked)

    def _repr_html_(self) -> str:
        return format_html(self.frame, self.asked)

    def describe(self) -> pd.DataFrame:
        """Return one row per column: its type, unit, meaning, formula, and what writes it.

        A column that nothing describes, e.g. one of your own, has no meaning here.
        """
        rows = []
        for column in self.columns:
            described = find_description(column, self.columns)
            row = {"column": column, "written_by": "", "type": "", "unit": "", "meaning": ""}
            row["formula"] = ""
            if described is not None:
                row |= {
                    "written_by": described.written_by,
                    "type": described.kind,
                    "unit": described.unit,
                    "meaning": described.meaning,
                    "formula": described.formula,
                }
            rows.append(row)
        return pd.DataFrame(rows).set_index("column")

    def _choose(self, frame: pd.DataFrame, *asked: str) -> "LatentTable":
        """Return the table of some of the rows, which were chosen by some columns."""
        names = dict.fromkeys((*self.asked, *asked))
        return LatentTable(frame, self.meta, tuple(names))  # type: ignore[arg-type]

    def with_columns(self, *groups: Mapping[str, Any]) -> "LatentTable":
        """Return the table with more columns, one entry per row each."""
        added: dict[str, Any] = {}
        for group in groups:
            added |= group
        for name, column in added.items():
            if np.ndim(column) == 0 or len(column) != len(self):
                found = "one value" if np.ndim(column) == 0 else f"{len(column):,} entries"
                raise UserError(
                    f"column '{name}' has {found}, but the table has {len(self):,} rows"
                )
        return LatentTable(self.frame.assign(**added), self.meta, self.asked)

    def __getitem__(self, column: str) -> np.ndarray:
        """Return one column as an array."""
        if column not in self.frame:
            raise UserError(f"the table has no column '{column}'; it has {', '.join(self.columns)}")
        return self.frame[column].to_numpy(copy=True)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    @property
    def prompt_contrasts(self) -> list[str]:
        """Columns that compare two kinds of prompts (prompts.py); they have p-values, too."""
        return [
            name for name in self.columns if self._are_numbers(name, f"{name}/p", f"{name}/holm")
        ]

    def _are_numbers(self, *columns: str) -> bool:
        """Tell whether the table has these columns and they hold numbers."""
        return all(
            name in self.frame and pd.api.types.is_numeric_dtype(self.frame[name])
            for name in columns
        )

    def query(self, condition: str) -> "LatentTable":
        """Return the rows that meet a condition, e.g. "density > 1e-4 and `norm/chat` > 1".

        A name with a `/` needs backticks.
        """
        if not isinstance(condition, str):
            raise UserError(f"a condition is a text, e.g. 'density > 0.01', not {condition!r:.80}")
        try:
            # empty dicts: pandas would otherwise look for names in this module, too
            rows = self.frame.query(condition, local_dict={}, global_dict={})
        except QUERY_ERRORS as error:
            known = ", ".join(self.columns)
            raise UserError(
                f"cannot query '{condition}': {error}; columns (in backticks): {known}"
            ) from error
        words = re.findall(r"`[^`]+`|\w+", condition)
        return self._choose(rows, *(word.strip("`") for word in words))

    def sort(self, by: str, ascending: bool = False) -> "LatentTable":
        """Sort by a column, largest first by default.

        Latents without a value come last, ties keep their order.
        """
        require_flag("ascending", ascending)
        self[by]  # raises a UserError for an unknown column
        frame = self.frame.sort_values(by, ascending=ascending, kind="stable", na_position="last")
        return self._choose(frame, by)

    def top(self, by: str, n: int = 20, ascending: bool = False) -> "LatentTable":
        """Return the first `n` rows in the order of a column."""
        require_whole("n", n)
        return self._choose(self.sort(by, ascending).frame.head(n), by)

    def rank(self, by: str, ascending: bool = False) -> dict[int, int]:
        """Return each latent's rank by a column; the first has rank 1."""
        ranked = self.sort(by, ascending)["latent"]
        return {int(latent): rank for rank, latent in enumerate(ranked, 1)}

    def find_chat_specific_features(self, threshold: float | None = None) -> "LatentTable":
        """Return the latents of the pair's first source alone, by descending difference energy.

        Without a threshold, by the verdict. With one, by Δ_norm > threshold alone, as Minder et al.
        2025 do with 0.9; this is known to include artefacts.
        """
        if not self.meta.get("contrast"):
            raise UserError(
                "no latents are specific to a source: this table compares no two sources"
            )
        if threshold is not None:
            require_number("threshold", threshold)
            specific = self.query(f"delta_norm > {threshold} and not dead")
        else:
            first = self.meta["contrast"][0]
            specific = self.where("verdict", f"{first}-specific")
        return specific.sort("difference_energy")

    def where(self, column: str, value: Any) -> "LatentTable":
        """Return the rows in which a column has a value.

        Use it for text from files, because `query` evaluates its argument.
        """
        return self._choose(self.frame.loc[self[column] == value], column)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as plain dicts."""
        return self.frame.to_dict("records")  # type: ignore[return-value]

    def save(self, path: str | Path) -> Path:
        """Write one parquet file, whole or not at all."""
        return save_parquet(self.frame, path, self.meta)

    @classmethod
    def load(cls, path: str | Path) -> "LatentTable":
        """Read a file of `save`.

        Raises:
            UserError: The file is missing, or is no table with one row per latent.
        """
        return cls(*load_latents(path))

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "LatentTable":
        """Load the table that lies beside a crosscoder; from the hub it is downloaded.

        Args:
            path: The crosscoder's folder, its run folder, or its id on the hub.

        Raises:
            UserError: There is no table beside the crosscoder, or it is no table of latents.
        """
        return cls.load(find_file(path, TABLES[0]))
