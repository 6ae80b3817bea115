"""The interface of an eval: it takes an EvalContext and returns a Result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, Protocol, runtime_checkable

from typing_extensions import TypedDict

from crosscoder.errors import UserError
from crosscoder.evals.context import EvalContext
from crosscoder.io.run_dir import write_json
from crosscoder.io.schema import Number, Object, Whole, read_json
from crosscoder.terminal.escapes import escape_controls

N_SHOWN = 20  # figures that are shown


@runtime_checkable
class Saveable(Protocol):
    """A table that is saved in a file of its own."""

    def save(self, path: str | Path) -> Path:
        """Write the file completely or not at all."""
        ...


class ResultContent(TypedDict):
    """Content of a result's JSON file."""

    name: str
    scalars: dict[str, Whole | Number | None]
    tables: NotRequired[dict[str, list[Object]]]
    meta: NotRequired[Object]


@dataclass(frozen=True)
class Result:
    """Figures of one eval.

    Args:
        name: Name of the eval; the file is `<name>.json`.
        scalars: Numbers by flat key.
        tables: Tables by name, a list of rows each.
        meta: What was evaluated and how. `meta["left_out"]` says why the result lacks something.
        files: Tables that are saved beside the JSON, by file name. None removes an older file.
        errors: Unexpected errors of those steps that the eval can do without, by step.
    """

    name: str
    scalars: dict[str, float]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, Saveable | None] = field(default_factory=dict, compare=False)
    errors: Mapping[str, Exception] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        lines = [f"Result '{escape_controls(self.name)}': {len(self.scalars)} figures"]
        for key, value in list(self.scalars.items())[:N_SHOWN]:
            figure = "–" if math.isnan(value) else f"{value:.4g}"
            lines.append(f"  {escape_controls(key)}  {figure}")
        if len(self.scalars) > N_SHOWN:
            lines.append(f"  … and {len(self.scalars) - N_SHOWN} more in .scalars")
        for name, rows in self.tables.items():
            lines.append(f"  table '{escape_controls(name)}' of {len(rows):,} rows")
        for name in self.files:
            lines.append(f"  file {escape_controls(name)}")
        for name, reason in dict(self.meta.get("left_out") or {}).items():
            lines.append(f"  left out: {escape_controls(f'{name}, {reason}')}")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write the result's files, then `<name>.json`, each completely or not at all."""
        for name, file in self.files.items():
            if file is None:
                (Path(folder) / name).unlink(missing_ok=True)
            else:
                file.save(Path(folder) / name)
        path = Path(folder) / f"{self.name}.json"
        content = {
            "name": self.name,
            "scalars": self.scalars,
            "tables": self.tables,
            "meta": self.meta,
        }
        write_json(path, content)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read a result that `save` wrote; a scalar that is null becomes NaN.

        Raises:
            UserError: The file is missing or is not the result of an eval.
        """
        try:
            content = read_json(path, ResultContent)
        except UserError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise UserError(f"{path} is not the result of an eval: {reason}") from error
        scalars = {}
        for key, value in content["scalars"].items():
            scalars[key] = math.nan if value is None else value
        return cls(content["name"], scalars, content.get("tables", {}), content.get("meta", {}))


@runtime_checkable
class Eval(Protocol):
    """A callable object that evaluates a crosscoder; its YAML is in conf/eval."""

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        ...
