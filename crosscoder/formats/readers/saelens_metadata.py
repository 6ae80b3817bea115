"""Read from SAELens's `metadata` which activations a dictionary reads; the weights ignore it.

hook_name, hf_hook_name         the place: TransformerLens's name and a path to a module
hook_head_index                 a single head is read: there is no such hookpoint here, so the
                                place stays as it is written
model_from_pretrained_kwargs    center_writing_weights: the mean over dimensions is subtracted
                                from activations
exclude_special_tokens          true, or the ids of the tokens that were left out
widths, sources                 written by this project: a crosscoder's concatenated sources
"""

import warnings
from collections.abc import Mapping
from typing import Any

from crosscoder.core.sources import Source, Sources
from crosscoder.formats.hookpoints import is_named, parse_hookpoint
from crosscoder.formats.model_sources import build_model_sources, build_single_source


def read_sources(
    metadata: Mapping[str, Any], d: int, file_name: str
) -> tuple[Sources, dict[str, str]]:
    """Return the sources, of total width `d`, and the hub ids of their models if known."""
    widths = metadata.get("widths")
    if isinstance(widths, list) and _are_widths(widths, d):
        return _read_crosscoder_sources(metadata, widths), {}
    kwargs = metadata.get("model_from_pretrained_kwargs")
    if isinstance(kwargs, dict) and kwargs.get("center_writing_weights"):
        warnings.warn(
            f"{file_name}: trained on activations whose mean over dimensions was subtracted "
            "(center_writing_weights): subtract it from raw activations before encoding",
            stacklevel=2,
        )
    model = _text_or_none(metadata.get("model_name"))
    return build_single_source(d, _read_hookpoint(metadata, model), model)


def read_bos(metadata: Mapping[str, Any]) -> bool | None:
    """Tell whether training tokens included BOS; None if the metadata does not say."""
    excluded = metadata.get("exclude_special_tokens")
    return not excluded if isinstance(excluded, bool) else None


def _are_widths(widths: list[Any], d: int) -> bool:
    return all(type(width) is int and width > 0 for width in widths) and sum(widths) == d


def _read_hookpoint(metadata: Mapping[str, Any], model: str | None) -> str:
    """Return the hookpoint of a single source; a place without one stays as it is written."""
    texts = [_text_or_none(metadata.get(name)) for name in ("hf_hook_name", "hook_name")]
    written = [text for text in texts if text]
    if not written:
        return ""
    if metadata.get("hook_head_index") is not None:
        return written[-1]
    places = [parse_hookpoint(text, model) for text in written]
    named = [place for place in places if is_named(place)]
    if len(set(named)) == 1:
        return named[0]
    return written[-1]  # no hookpoint, or two that disagree


def _read_crosscoder_sources(metadata: Mapping[str, Any], widths: list[int]) -> Sources:
    """Return the sources of an exported crosscoder: several models, or one at several places."""
    texts = (_text_or_none(metadata.get("hook_name")) or "").split(", ")
    places = [parse_hookpoint(text) for text in texts]
    if len(places) != len(widths):
        places = [""] * len(widths)
    lms = _read_lms(metadata)
    is_one_model = len(lms) == len(widths) > 1 and len(set(lms)) == 1
    if is_one_model and len(set(places)) == len(widths):
        pairs = zip(places, widths, strict=True)
        return Sources(
            tuple(Source(f"model.{place}", width, "model", place) for place, width in pairs)
        )
    models = build_model_sources(widths)
    items = [
        Source(source.name, source.width, source.lm, place)
        for source, place in zip(models, places, strict=True)
    ]
    return Sources(tuple(items), models.diff_pair)


def _read_lms(metadata: Mapping[str, Any]) -> list[str]:
    """Return the language model of each exported source, the first word of its description."""
    descriptions = metadata.get("sources")
    if not isinstance(descriptions, list):
        return []
    return [text.partition(" ")[0] for text in descriptions if isinstance(text, str)]


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
