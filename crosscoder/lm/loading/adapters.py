"""Merge an adapter into a language model, and require that all of its weights took effect."""

import warnings
from pathlib import Path

from crosscoder.errors import UserError, describe_foreign
from crosscoder.io.scratch import scratch_folder
from crosscoder.lm.loading.adapter_config import NAME, WEIGHTS, AdapterSettings, read_adapter_config
from crosscoder.lm.loading.adapter_modules import make_config
from crosscoder.lm.loading.keys import refuse_keys
from crosscoder.lm.loading.vocabulary import COPIES, FULL, find_tables, fit_vocabulary
from crosscoder.lm.loading.weights import Shapes, read_shapes
from crosscoder.lm.types import PreTrainedModel


def merge_adapter(model: PreTrainedModel, name: str, folder: Path, weights: str) -> PreTrainedModel:
    """Return the model with the adapter merged into its weights.

    Args:
        model: The base model, in fp32; its embeddings are resized to those the adapter was trained
            with.
        name: The adapter, for messages.
        folder: The folder of the adapter.
        weights: The base model, for messages.

    Raises:
        UserError: The adapter cannot be merged, or some of its weights fit nothing in the model.
    """
    import peft

    refusal = f"adapter '{name}' does not fit '{weights}'"
    kind, settings, shapes = fit_to_adapter(model, name, folder)
    config = make_config(kind, settings, model, f"{folder / NAME}")
    whole: set[str] = set()
    copies: set[str] = set()
    for table in find_tables(model, shapes):
        whole |= table.get_keys(FULL)
        if table.is_whole:
            copies |= table.get_keys(COPIES)
    try:
        with warnings.catch_warnings(), scratch_folder(prefix="crosscoder-adapter-") as view:
            # peft warns about keys that do not fit, which are compared below
            warnings.simplefilter("ignore")
            # peft sees no other file of the folder
            (view / WEIGHTS).symlink_to((folder / WEIGHTS).absolute())
            tuned = peft.PeftModel.from_pretrained(model, str(view), config=config)
            taken = set(peft.get_peft_model_state_dict(tuned, save_embedding_layers=False))
            whole.intersection_update(tuned.state_dict())
            merged = tuned.merge_and_unload()  # pyright: ignore[reportCallIssue]
    except Exception as error:  # peft and safetensors raise anything for a foreign folder
        raise UserError(f"{refusal}: {describe_foreign(error)}") from error
    missing = taken - set(shapes)
    unexpected = set(shapes) - taken - whole - copies
    refuse_keys(refusal, sorted(missing), sorted(unexpected))
    return merged


def fit_to_adapter(
    model: PreTrainedModel, name: str, folder: Path
) -> tuple[str, AdapterSettings, Shapes]:
    """Resize a model's embeddings to those an adapter was trained with, in place.

    Args:
        model: The base model, with or without memory for its weights.
        name: The adapter, for messages.
        folder: The folder of the adapter.

    Returns:
        The kind of the adapter, its settings, and the shapes of its weights.

    Raises:
        UserError: The folder holds no adapter that can be merged into the model.
    """
    kind, settings = read_adapter_config(name, folder)
    if not (folder / WEIGHTS).exists():
        raise UserError(f"adapter '{name}' has no {WEIGHTS}; pickles (.bin) are not loaded")
    shapes = read_shapes(folder / WEIGHTS)
    _require_rank(f"{folder / NAME}", kind, settings, shapes)
    fit_vocabulary(model, name, shapes, settings)
    return kind, settings, shapes


def _require_rank(path: str, kind: str, settings: AdapterSettings, shapes: Shapes) -> None:
    """Refuse a rank larger than any dimension in the file, before there is memory for it."""
    if kind != "LORA":
        return
    ranks = [settings.r or 0]
    for rank in (settings.rank_pattern or {}).values():
        if isinstance(rank, int):
            ranks.append(rank)
    largest = max((max(shape, default=0) for shape in shapes.values()), default=0)
    if max(ranks) > largest:
        raise UserError(f"{path}: r is {max(ranks)}, but the weights have no rank above {largest}")
