"""Resize a model's embeddings to those that an adapter was trained with.

The adapter may have been trained with added tokens, or without rows that only pad the matrix. With
added tokens, it holds either the whole embeddings or the rows of the added tokens. Other rows
cannot be guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crosscoder.errors import UserError
from crosscoder.lm.loading.adapter_config import AdapterSettings
from crosscoder.lm.loading.weights import Shapes
from crosscoder.lm.types import PreTrainedModel

PREFIX = "base_model.model."
FULL = ("weight", "base_layer.weight")
COPIES = ("modules_to_save.weight", "original_module.weight")
"""Copies that peft writes in addition to the whole table."""
# the axis of the vocabulary in an adapter's tensors of an embedding or a head
VOCABULARY_AXES = {"weight": 0, "base_layer.weight": 0, "lora_embedding_A": 1, "lora_B.weight": 0}


def count_ids(model: PreTrainedModel) -> int:
    """Return the number of token ids that a model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])  # pyright: ignore


@dataclass(frozen=True)
class Table:
    """The embedding or the head of a model, as an adapter holds it.

    Args:
        name: Its name in the model.
        shapes: Shapes in the adapter's file; the keys are the ends of the file's keys.
    """

    name: str
    shapes: Shapes

    @property
    def is_whole(self) -> bool:
        return any(end in self.shapes for end in FULL)

    def get_keys(self, ends: Sequence[str]) -> set[str]:
        """Return the keys of the file that consist of this table's name and one of `ends`."""
        return {f"{PREFIX}{self.name}.{end}" for end in ends if end in self.shapes}


def find_tables(model: PreTrainedModel, shapes: Shapes) -> list[Table]:
    """Find the embedding, and the head if the model has one, in an adapter's file."""
    tables = []
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        name = _find_name(model, module)
        if name is not None:
            prefix = f"{PREFIX}{name}."
            found = {}
            for key, shape in shapes.items():
                if key.startswith(prefix):
                    found[key.removeprefix(prefix)] = shape
            tables.append(Table(name, found))
    return tables


def _find_name(model: PreTrainedModel, module: Any) -> str | None:
    """Find the name of a module in a model; None if it is not a module of the model."""
    if module is None:
        return None
    for name, candidate in model.named_modules():
        if candidate is module:
            return name
    return None


def fit_vocabulary(
    model: PreTrainedModel, name: str, shapes: Shapes, settings: AdapterSettings
) -> None:
    """Resize a model's embeddings to the rows that an adapter was trained with, in place.

    Args:
        model: The base model.
        name: The adapter, for messages.
        shapes: Shapes in the adapter's file.
        settings: The adapter's settings.

    Raises:
        UserError: The adapter was trained with more rows than it holds, or its sizes contradict
            each other.
    """
    rows = count_ids(model)
    tables = find_tables(model, shapes)
    sizes = set()
    for table in tables:
        for end, axis in VOCABULARY_AXES.items():
            shape = table.shapes.get(end, [])
            if len(shape) > axis:
                sizes.add(shape[axis])
    trained = _find_trained_tokens(settings)
    if not sizes and trained and max(trained) >= rows:
        sizes.add(max(trained) + 1)
    if not sizes or sizes == {rows}:
        return
    if len(sizes) > 1:
        found = " and ".join(f"{size:,}" for size in sorted(sizes))
        raise UserError(
            f"adapter '{name}' holds embeddings of {found} tokens: it is not of one model"
        )
    (size,) = sizes
    _require_added(model, name, tables, rows, size, trained)
    model.resize_token_embeddings(size, mean_resizing=False)


def _find_trained_tokens(settings: AdapterSettings) -> set[int]:
    """Return the tokens whose rows of the embedding the adapter holds."""
    indices = settings.trainable_token_indices or settings.token_indices or []
    if isinstance(indices, dict):
        return set().union(*indices.values())
    return set(indices)


def _require_added(
    model: PreTrainedModel, name: str, tables: list[Table], rows: int, size: int, trained: set[int]
) -> None:
    """Refuse an adapter that lacks rows of added tokens, in the embedding or in an untied head."""
    is_tied = bool(model.config.get_text_config(decoder=True).tie_word_embeddings)
    needed = tables[:1] if is_tied else tables
    lacking = [table.name for table in needed if not table.is_whole]
    if size <= rows or not lacking:
        return
    if is_tied and trained.issuperset(range(rows, size)):
        return
    raise UserError(
        f"adapter '{name}' was trained with {size:,} tokens and the base model has {rows:,}: "
        f"it does not hold {lacking[0]} of the {size - rows:,} added tokens; save it again with "
        "save_embedding_layers=True, or merge it and save the model"
    )
