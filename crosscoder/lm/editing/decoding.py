"""Kinds of decoding of `generate` that an edit can follow: greedy decoding and sampling."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from crosscoder.errors import UserError
from crosscoder.lm.editing.caches import ONE_PASS, is_recurrent


class Setting(NamedTuple):
    """Setting of `generate` that turns on a kind of decoding."""

    off: Any
    decoding: str


# settings that an edit cannot follow, unless they have the value that turns them off
UNSUPPORTED_SETTINGS = {
    "num_beams": Setting(1, "beam search"),
    "num_beam_groups": Setting(1, "beam search"),
    "constraints": Setting(None, "constrained beam search"),
    "force_words_ids": Setting(None, "constrained beam search"),
    "penalty_alpha": Setting(0, "contrastive search"),
    "dola_layers": Setting(None, "DoLa"),
    "assistant_model": Setting(None, "assisted decoding"),
    "prompt_lookup_num_tokens": Setting(0, "prompt lookup"),
    "assistant_early_exit": Setting(0, "speculative decoding"),
    "use_mtp": Setting(False, "speculative decoding"),
    "custom_generate": Setting(None, "custom decoding"),
    "guidance_scale": Setting(1, "classifier-free guidance"),
    "negative_prompt_ids": Setting(None, "classifier-free guidance"),
    "token_healing": Setting(False, "token healing"),
    "inputs_embeds": Setting(None, "a prompt of embeddings"),
}
UNSUPPORTED_CACHES = ("quantized", "paged")


def get_setting(model: PreTrainedModel, call: Mapping[str, Any], name: str) -> Any:
    """Return the value that transformers would use for a setting in a call of `generate`."""
    if call.get(name) is not None:
        return call[name]
    value = getattr(call.get("generation_config"), name, None)
    if value is None:
        value = getattr(model.generation_config, name, None)
    return value


def require_supported_decoding(model: PreTrainedModel, call: Mapping[str, Any]) -> None:
    """Refuse a call of `generate` whose decoding an edit cannot follow.

    Args:
        model: The edited model.
        call: Arguments of `generate` by name.

    Raises:
        UserError: The call asks for another kind of decoding, cache or prompt processing.
    """
    for name, setting in UNSUPPORTED_SETTINGS.items():
        if not _is_off(get_setting(model, call, name), setting):
            raise UserError(
                "an edit follows greedy decoding and sampling, token by token, "
                f"not {setting.decoding}: call generate without {name}"
            )
    cache = get_setting(model, call, "cache_implementation")
    if cache in UNSUPPORTED_CACHES:
        raise UserError(
            f"an edit cannot follow a {cache} cache: use cache_implementation='dynamic' or 'static'"
        )
    is_chunked = bool(get_setting(model, call, "prefill_chunk_size"))
    if is_chunked and is_recurrent(DynamicCache(config=model.config)):
        raise UserError(f"{ONE_PASS} (generate without prefill_chunk_size)")


def _is_off(value: Any, setting: Setting) -> bool:
    if setting.off is None or isinstance(value, Tensor):
        return value is None
    return value in (None, setting.off)
