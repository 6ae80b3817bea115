"""Checks of the settings of evaluate.py. They fail before a crosscoder is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from crosscoder.errors import UserError
from crosscoder.values import require_flag, require_whole

FOLDERS = ("store", "reference", "activation_module")
FLAGS = ("pack", "trust_models")


def check_evaluation(settings: Mapping[str, Any]) -> list[str]:
    """Check the settings of evaluate.py, and return the names of the crosscoders.

    Raises:
        UserError: A setting is refused; the message names it, what it is and its value.
    """
    names = _list_names(settings["crosscoder"])
    require_whole("seed", settings["seed"], least=0)
    for name in FLAGS:
        require_flag(name, settings[name])
    for name in FOLDERS:
        value = settings[name]
        if value is not None and not _is_name(value):
            raise UserError(f"{name} is a name or null, not {value!r:.80}")
    if not _is_list(settings["recipe"]):
        raise UserError(
            f"recipe is a list of settings of train.py, e.g. [lr=1e-3], not {settings['recipe']!r}"
        )
    if not isinstance(settings["analysis"], Mapping):
        raise UserError(
            f"analysis is a group of settings, e.g. analysis.n_resamples=100, "
            f"not {settings['analysis']!r}"
        )
    return names


def _list_names(value: Any) -> list[str]:
    """Return one or more names of crosscoders as a list."""
    names = list(value) if _is_list(value) else [value]
    if names and all(_is_name(name) for name in names):
        return names
    raise UserError(
        "crosscoder is a run folder, a crosscoder's folder or a hub id, or a list of them, e.g. "
        f"crosscoder=outputs/RUN or crosscoder=[R1,R2], not {value!r:.80}"
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
