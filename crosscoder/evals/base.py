"""What an eval is: it looks at a saved crosscoder and held-out data, and gives a Result."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from crosscoder.data import Store
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.runs import write_json


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a folded crosscoder, held-out activations, and what loads the language models, where there are any."""

    crosscoder: Crosscoder
    heldout: Store
    pair: Pair | None
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """Numbers by flat key, tables by name (rows as dicts), and what was evaluated."""

    name: str
    scalars: dict[str, float]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.json`, whole or not at all."""
        path = Path(folder) / f"{self.name}.json"
        write_json(path, {"name": self.name, "scalars": self.scalars, "tables": self.tables, "meta": self.meta})
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read what `save` wrote."""
        return cls(**json.loads(Path(path).read_text()))


@runtime_checkable
class Eval(Protocol):
    """An eval is a callable object; its YAML is in conf/eval."""

    def __call__(self, subject: Subject) -> Result:
        """Evaluate."""
        ...
