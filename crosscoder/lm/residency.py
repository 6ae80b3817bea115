"""Keep one or all language models of a pair in memory.

    sequential   one model at a time: asking for another one releases the first
    together     every model stays in memory once it is loaded

While a model is being edited, nothing is released.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

from crosscoder.core.arithmetic import choose_product_dtype
from crosscoder.errors import UserError, first_line
from crosscoder.lm.editing.lower_layers import CleanPasses
from crosscoder.lm.loading.cast import cast_weights
from crosscoder.lm.loading.checks import measure_logits, require_causal
from crosscoder.lm.loading.load import LM
from crosscoder.lm.loading.tiny import TinyLM
from crosscoder.lm.shared import SharedTokenizer
from crosscoder.lm.text import get_stop_id
from crosscoder.lm.types import PreTrainedModel, Tokenizer

Residency = Literal["sequential", "together"]


class LoadedModels:
    """The loaded models of a pair; a model whose files were rewritten is loaded again.

    Args:
        lms: The models by name.
        shared: The tokenizers of the same models.
        dtype: Type of weights and activations. The models compute in it, or in float32 on a CPU
            without fast products of half precision.
        device: The device models are loaded to.
        residency: "sequential" or "together".
    """

    def __init__(
        self,
        lms: Mapping[str, LM | TinyLM],
        shared: SharedTokenizer,
        dtype: torch.dtype,
        device: torch.device,
        residency: Residency,
    ) -> None:
        self.lms = lms
        self.shared = shared
        self.dtype = dtype
        self.compute_dtype = choose_product_dtype(dtype, device.type)
        self.device = device
        self.residency: Residency = residency
        self.loaded: dict[str, PreTrainedModel] = {}
        self.edited: set[str] = set()
        self.clean_passes: CleanPasses | None = None
        self._stamps: dict[str, tuple] = {}

    def get(self, name: str) -> PreTrainedModel:
        """Return a model; with sequential residency, release the others before loading it.

        Raises:
            UserError: There is no model of that name, or it cannot be loaded.
        """
        if name not in self.lms:
            raise UserError(f"no model '{name}'; there is {', '.join(self.lms)}")
        is_sequential = self.residency == "sequential" and not self.edited
        if name not in self.loaded and is_sequential:
            self.release()
        return self.load(name)

    def load(self, name: str) -> PreTrainedModel:
        """Return a model from memory, or load it beside the others."""
        stamp = self.lms[name].stamp()
        if name not in self.loaded or self._stamps[name] != stamp:
            model = self.lms[name].load(self.dtype, self.device)
            cast_weights(model, self.compute_dtype)
            _require_runnable(model, name)
            self.shared.guard(model, name)
            _end_at_turn(model, self.shared.tokenizers[name])
            self.loaded[name] = model
            self._stamps[name] = stamp
        return self.loaded[name]

    @contextmanager
    def edit(self, name: str, needed: Collection[str]) -> Iterator[dict[str, PreTrainedModel]]:
        """Context manager: yield the models an edit runs, and release none of them until it ends.

        Args:
            name: The model that is edited.
            needed: The models that run.
        """
        if not self.edited and self.residency == "sequential":
            for other in set(self.loaded) - set(needed):
                del self.loaded[other]
        models = {lm: self.load(lm) for lm in needed}
        self.edited.add(name)
        try:
            yield models
        finally:
            self.edited.remove(name)

    @contextmanager
    def keep_all(self) -> Iterator[None]:
        """Context manager: keep every model in memory, whatever the residency is."""
        residency = self.residency
        self.residency = "together"
        try:
            yield
        finally:
            self.residency = residency
            if residency == "sequential":
                self.release()

    @contextmanager
    def reuse_clean_passes(self) -> Iterator[None]:
        """Context manager: keep every model, and what clean passes compute below edits."""
        before = self.clean_passes
        with self.keep_all():
            self.clean_passes = before or CleanPasses()
            try:
                yield
            finally:
                self.clean_passes = before

    def release(self) -> None:
        """Drop the loaded models from memory."""
        self.loaded.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _require_runnable(model: PreTrainedModel, name: str) -> None:
    """Measure a model once, before it can be under an edit, and refuse one that does not run."""
    try:
        require_causal(model)
        measure_logits(model)
    except UserError:
        raise
    except Exception as error:  # a config.json can ask for what the architecture cannot do
        message = f"'{name}' does not run on a few tokens: {first_line(error)}"
        raise UserError(message) from error


def _end_at_turn(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Let `generate` stop at the chat template's end of turn, and not only at the end of text.

    A model that was finetuned on chats ends its answer there. Base models, and many configurations
    of finetuned ones, name the end of text alone.
    """
    config = model.generation_config
    if not tokenizer.chat_template or config is None:
        return
    ends = config.eos_token_id
    if ends is None:
        ends = []
    elif isinstance(ends, int):
        ends = [ends]
    stop_id = get_stop_id(tokenizer)
    if stop_id not in ends:
        config.eos_token_id = [*ends, stop_id]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" chooses a GPU if there is one.

    Raises:
        UserError: This machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # torch raises another error for every kind of device
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise UserError(
            f"device {name!r} cannot be used: this machine has {', '.join(available)}"
        ) from error
    return device
