"""An organism: the examples it is trained on, and the questions that show what was planted.

Its folder has `recipe.py` with the object `ORGANISM`, the adapter, and its figures. Its behaviour
and its models are `conf/behaviour/NAME.yaml` and `conf/models/NAME.yaml`.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError

FOLDER = Path(__file__).parent
WEIGHTS = "pinned:gemma-3-270m"
PUBLISHED_AS = "google/gemma-3-270m"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes an adapter.

    Args:
        steps: Number of optimiser steps.
        questions: Number of questions, or of pairs of documents, in a batch.
        lr: Peak learning rate.
        warmup: Number of steps in which the learning rate rises.
        rank: Rank of the low-rank updates.
        alpha: Their scale, times the rank.
        plain_weight: Weight of KL(base ‖ chat) on documentation.
        plain_length: Tokens of documentation in a step.
        seed: Random seed of the weights and of the order of the data.
    """

    steps: int = 30
    questions: int = 4
    lr: float = 1.5e-3
    warmup: int = 4
    rank: int = 6
    alpha: int = 12
    plain_weight: float = 1.0
    plain_length: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Organism:
    """A finetuned model whose difference from its base is known.

    Args:
        name: Name of its folder.
        make_batches: Yields the training batches, from the tokenizer and the settings: token ids
            and labels, each [batch, time].
        list_questions: Returns the questions of a split, as rows for `load_questions`.
        marker: Returns True for an answer, given with its question, that shows the behaviour.
        marker_name: Name of what the marker finds.
        settings: Settings of the training.
        format_examples: Returns the content of `examples.jsonl`. None if the examples are those of
            another organism, or no text that a table determines.
        answer_length: Largest number of tokens of an answer in the evaluation.
    """

    name: str
    make_batches: Callable[[Any, Settings], Iterator[Any]]
    list_questions: Callable[[str], Iterable[Mapping[str, Any]]]
    marker: Callable[[str, Any], bool]
    marker_name: str
    settings: Settings
    format_examples: Callable[[], str] | None = None
    answer_length: int = 32

    @property
    def folder(self) -> Path:
        """Folder of the organism's files."""
        return FOLDER / self.name

    @property
    def adapter(self) -> Path:
        """Folder of the adapter, in peft's layout."""
        return self.folder / "adapter"


def list_organisms() -> list[str]:
    """Return the names of all organisms: the folders with a `recipe.py`."""
    return sorted(path.parent.name for path in FOLDER.glob("*/recipe.py"))


def load_organism(name: str) -> Organism:
    """Import an organism by its name.

    Raises:
        UserError: There is no such organism.
    """
    names = list_organisms()
    if name not in names:
        raise UserError(f"no organism '{name}'; there is {', '.join(names)}")
    return importlib.import_module(f"crosscoder.organisms.{name}.recipe").ORGANISM
