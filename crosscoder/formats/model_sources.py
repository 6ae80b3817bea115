"""Names of the sources that a file's weights read: `base`, `chat` or `model`."""

from collections.abc import Sequence

from crosscoder.core.sources import Source, Sources

CHAT_WORDS = {"it", "instruct", "chat"}


def guess_role(model: str | None) -> str:
    """Return the source name of a language model: `base` or `chat` by its id, else `model`."""
    if not model:
        return "model"
    words = model.lower().replace("_", "-").split("/")[-1].split("-")
    return "chat" if CHAT_WORDS & set(words) else "base"


def build_model_sources(widths: Sequence[int], hookpoint: str = "") -> Sources:
    """Return one source per model, all at one hookpoint.

    Of two models the first is the base model and the second its finetuned version.
    """
    names = _name_models(len(widths))
    pairs = zip(names, widths, strict=True)
    items = tuple(Source(name, width, name, hookpoint) for name, width in pairs)
    return Sources(items, ("chat", "base") if len(widths) == 2 else None)


def build_single_source(
    width: int, hookpoint: str, model: str | None
) -> tuple[Sources, dict[str, str]]:
    """Return the source of one language model, and the model's hub id by source name if known."""
    name = guess_role(model)
    sources = Sources((Source(name, width, name, hookpoint),))
    return sources, {name: model} if model else {}


def _name_models(n_models: int) -> Sequence[str]:
    if n_models == 1:
        return ("model",)
    if n_models == 2:
        return ("base", "chat")
    return [f"model{i}" for i in range(n_models)]
