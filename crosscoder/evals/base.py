"""What an eval is: it looks at a saved crosscoder and held-out data, and gives a Result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from crosscoder.data import Store
from crosscoder.errors import NotApplicable
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.runs import write_json
from crosscoder.training import Recipe


@runtime_checkable
class Saveable(Protocol):
    """A table that goes into a file of its own."""

    def save(self, path: str | Path) -> Path:
        """Write it, whole or not at all."""
        ...


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a folded crosscoder, held-out activations, and what loads the language models, where there are any.

    `recipe()` is how the crosscoder was trained, for evals that train others beside it; they keep them in `folder`.
    """

    crosscoder: Crosscoder
    heldout: Store
    pair: Pair | None
    seed: int = 0
    recipe: Callable[[], Recipe] | None = None
    folder: Path | None = None

    def models(self, what: str) -> Pair:
        """The language models; `what` needs them.

        Raises:
            NotApplicable: there are none, or none has the streams that the crosscoder reads, or they have different tokenizers.
        """
        if self.pair is None:
            raise NotApplicable(f"{what} the language models, and this crosscoder was trained without any")
        if elsewhere := [s.name for s in self.crosscoder.sources if s.lm not in self.pair.lms]:
            raise NotApplicable(f"{what} the language models, and none of them has the stream {', '.join(elsewhere)}")
        if self.pair.aligned:
            raise NotApplicable(
                f"{what} language models with one tokenizer, and {', '.join(self.pair.lms)} have their own"
            )
        return self.pair

    def stores(self) -> tuple[Store, Store, Store]:
        """What the crosscoder was trained on, what its threshold was fitted on, and the held-out one."""
        made_with = self.crosscoder.provenance
        train = made_with.get("train", "")
        if train is None:
            raise NotApplicable(
                "the crosscoder was trained on a stream, which is gone: others cannot be trained beside it"
            )
        if not train or not Path(train).is_dir():
            raise NotApplicable(
                f"the activations the crosscoder was trained on are not at {train}: others cannot be trained beside it"
            )
        return Store(train), Store(made_with.get("validation") or train), self.heldout


@dataclass(frozen=True)
class Result:
    """Numbers by flat key, tables by name (rows as dicts), what was evaluated, and files that stand beside the JSON."""

    name: str
    scalars: dict[str, float]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, Saveable] = field(default_factory=dict, compare=False)

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.json`, whole or not at all, after the files that belong to it."""
        for name, file in self.files.items():
            file.save(Path(folder) / name)
        path = Path(folder) / f"{self.name}.json"
        write_json(path, {"name": self.name, "scalars": self.scalars, "tables": self.tables, "meta": self.meta})
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read what `save` wrote."""
        return cls.of(json.loads(Path(path).read_text()))

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Result":
        """From what a file holds, where null stands for what is not a number."""
        scalars = {key: float("nan") if value is None else value for key, value in content["scalars"].items()}
        return cls(**{**content, "scalars": scalars})


@runtime_checkable
class Eval(Protocol):
    """An eval is a callable object; its YAML is in conf/eval."""

    def __call__(self, subject: Subject) -> Result:
        """Evaluate."""
        ...
