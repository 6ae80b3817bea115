"""Watch a model's `generate` while an edit is open: its prompt, and the kind of decoding.

Forward passes alone do not show where a prompt ends: `generate` sends it in chunks
(`prefill_chunk_size`), or again with every token (without a KV cache). Decoding that removes tokens
again, or sends other tokens through the model, is refused.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from crosscoder.errors import UserError
from crosscoder.lm.editing.decoding import get_setting, require_supported_decoding
from crosscoder.lm.editing.forward_args import bind_arguments


class GenerateWatcher:
    """Observer of calls of a model's `generate`.

    Args:
        model: The edited model.

    Attributes:
        is_running: True while `generate` runs.
        mask: 2-D attention mask of the next pass; the mask that the model receives may have been
            prepared for its own cache.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.is_running = False
        self.mask: Tensor | None = None
        self._input: Tensor | None = None
        self._prompt: Tensor | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Context in which calls of `generate` are observed, and refused if not supported."""
        wrappers = {
            "generate": self._generate,
            "prepare_inputs_for_generation": self._prepare,
            "generate_batch": _refuse_batching,
            "init_continuous_batching": _refuse_batching,
        }
        attributes = vars(self.model)
        before = {name: attributes[name] for name in wrappers if name in attributes}
        for name, wrapper in wrappers.items():
            original = getattr(self.model, name, None)
            if original is not None:
                wrapped = functools.wraps(original)(functools.partial(wrapper, original))
                setattr(self.model, name, wrapped)
        try:
            yield
        finally:
            for name in wrappers:
                attributes.pop(name, None)
            attributes.update(before)

    def get_prompt(self, past: Tensor, new: Tensor) -> Tensor:
        """Return the whole prompt, [batch, time].

        Args:
            past: Tokens in the cache, [batch, past].
            new: Tokens of the next pass, [batch, new].

        Raises:
            UserError: These tokens are not those of the prompt and what was generated after it.
        """
        tokens = torch.cat([past, new], dim=1)
        if self._prompt is None:
            prompt = new if self._input is None else self._input.to(new.device)
            # if the cache holds the beginning of the prompt, the user may pass the whole prompt to
            # generate or only the rest
            is_whole = prompt.shape[1] >= tokens.shape[1] and _have_same_start(prompt, tokens)
            self._prompt = prompt if is_whole else torch.cat([past, prompt], dim=1)
        if not _have_same_start(self._prompt, tokens):
            raise UserError(
                "generate sent tokens through the edited model that are not its prompt, "
                "which an edit cannot follow: use greedy decoding or sampling"
            )
        return self._prompt

    def _generate(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        call = bind_arguments(original, args, kwargs)
        require_supported_decoding(self.model, call)
        if self.is_running:
            raise UserError(
                "generate was called inside generate of the same edited model, "
                "which an edit cannot follow: call it afterwards"
            )
        ids = call.get("inputs")
        if ids is None:
            ids = call.get("input_ids")
        if ids is not None:
            n_answers = get_setting(self.model, call, "num_return_sequences") or 1
            ids = ids.repeat_interleave(n_answers, dim=0)
        self.is_running = True
        self.mask = None
        self._input = ids
        self._prompt = None
        try:
            return original(**_disable_compilation(call))
        finally:
            self.is_running = False

    def _prepare(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        if not self.is_running:
            raise UserError(
                "generate was called past the edit: "
                "call it as model.generate(…), on the model that edit yields"
            )
        self.mask = kwargs.get("attention_mask")
        return original(*args, **kwargs)


def _disable_compilation(call: dict[str, Any]) -> dict[str, Any]:
    """Return the same call of `generate` without compiled passes.

    A compiled pass would repeat the edit of the first token.
    """
    if call.get("generation_config") is None:
        return {**call, "disable_compile": True}
    config = copy.deepcopy(call["generation_config"])
    config.disable_compile = True
    return {**call, "generation_config": config}


def _refuse_batching(*_: Any, **__: Any) -> None:
    raise UserError(
        "an edit cannot follow continuous batching: call generate on batches padded on the left"
    )


def _have_same_start(a: Tensor, b: Tensor) -> bool:
    """Return whether one is the beginning of the other, in every row."""
    n = min(a.shape[1], b.shape[1])
    return len(a) == len(b) and torch.equal(a[:, :n], b[:, :n])
