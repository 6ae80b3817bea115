"""Arguments of an edited model's forward pass: tokens, cache, positions and mask."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import Cache, PreTrainedModel

from crosscoder.errors import UserError
from crosscoder.lm.editing.caches import require_supported_cache

NON_TEXT_INPUTS = ("pixel_values", "pixel_values_videos", "input_features", "mm_encoder_outputs")
RECURRENT_STATES = ("state", "mems", "past_buckets_states")  # of models without a cache class
CACHE_NAMES = ("cache", "past_key_values", "cache_params")  # the last two are older names


@dataclass(frozen=True)
class ForwardArgs:
    """Arguments of a forward pass of the edited model.

    Args:
        ids: New tokens, [batch, new].
        cache: Cache that was passed, if any.
        makes_cache: True if the model makes its own cache where none was passed.
        positions: position_ids, if any.
        mask: Attention mask as the user passed it, if any; not the one that `generate` prepares for
            the model's own cache.
    """

    ids: Tensor
    cache: Cache | None
    makes_cache: bool
    positions: Tensor | None
    mask: Any

    @classmethod
    def from_call(
        cls, model: PreTrainedModel, outer: Mapping[str, Any], inner: Mapping[str, Any]
    ) -> "ForwardArgs":
        """Find the arguments in the calls of the model and of its decoder.

        Args:
            model: The edited model.
            outer: Arguments of the model by name; empty if its decoder is called directly.
            inner: Arguments of its decoder by name; the model may pass it embeddings instead of
                tokens.

        Raises:
            UserError: The arguments contain no tokens, or something that an edit cannot follow.
        """
        _require_text_only(outer)
        _refuse_states(inner)
        ids = inner.get("input_ids")
        if ids is None:
            ids = outer.get("input_ids")
        if ids is None:
            raise UserError(
                "an edit needs to see the tokens: "
                "call the model with input_ids, not with inputs_embeds"
            )
        makes_cache = inner.get("use_cache")
        if makes_cache is None:
            makes_cache = getattr(model.config.get_text_config(), "use_cache", True)
        return cls(
            ids=ids,
            cache=_find_cache(model, outer, inner),
            makes_cache=bool(makes_cache),
            positions=inner.get("position_ids"),
            mask=(outer or inner).get("attention_mask"),
        )

    def get_token_mask(self, time: int) -> Tensor | None:
        """Return the 2-D attention mask of the tokens so far, [batch, time].

        With a static cache the user's mask may be longer. None if it has another form.
        """
        if isinstance(self.mask, Tensor) and self.mask.dim() == 2 and self.mask.shape[1] >= time:
            return self.mask[:, :time]
        return None

    def refuse_long_recurrent_mask(self) -> None:
        """Refuse a mask of all tokens where a recurrent state is continued.

        Mamba interprets it as a mask of the new tokens.
        """
        is_long = isinstance(self.mask, Tensor) and self.mask.shape[-1] > self.ids.shape[1]
        if is_long and self.cache is not None and all(self.cache.is_linear):
            raise UserError(
                "leave out the attention mask where a model with only recurrent layers "
                "continues from a cache"
            )

    def get_partner_mask(self, time: int) -> Tensor | None:
        """Return the attention mask for the partner models.

        Its shape is [batch, time], or [batch, heads, new, time] if the user passed such a mask.
        """
        if self.mask is None:
            return None
        token_mask = self.get_token_mask(time)
        if token_mask is not None:
            return token_mask
        found = type(self.mask).__name__
        if isinstance(self.mask, Tensor):
            if self.mask.shape[-2:] == (self.ids.shape[1], time):
                return self.mask
            found = str(list(self.mask.shape))
        raise UserError(
            "expected an attention mask of the edited model's tokens so far, "
            f"[batch, {time}], not {found}"
        )


def bind_arguments(function: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments of a call by name."""
    names = list(inspect.signature(function).parameters)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def make_unused_cache_error(model: PreTrainedModel) -> UserError:
    """Return an error for a cache that was passed under a name that the model ignores."""
    return UserError(
        f"{type(model).__name__} did not use the cache it was given: pass it on as cache=…"
    )


def _require_text_only(outer: Mapping[str, Any]) -> None:
    for name in NON_TEXT_INPUTS:
        value = outer.get(name)
        # generate passes inputs that it has encoded beforehand as a mapping
        values = list(value.values()) if isinstance(value, Mapping) else [value]
        if any(value is not None for value in values):
            raise UserError(f"an edit reads text alone: call the model without {name}")


def _refuse_states(inner: Mapping[str, Any]) -> None:
    for name in RECURRENT_STATES:
        if inner.get(name) is not None:
            raise UserError(f"an edit cannot follow a model's {name}: call it with use_cache=False")


def _find_cache(
    model: PreTrainedModel, outer: Mapping[str, Any], inner: Mapping[str, Any]
) -> Cache | None:
    for name in CACHE_NAMES:
        cache = inner.get(name)
        if cache is not None:
            require_supported_cache(cache, model)
            return cache
    if any(isinstance(value, Cache) for value in outer.values()):
        raise make_unused_cache_error(model)
    return None
