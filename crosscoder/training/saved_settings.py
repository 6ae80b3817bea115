"""Read the training settings of a saved crosscoder, so that similar ones can be trained.

A crosscoder may come from anywhere, and so may its settings. Only settings of the recipe pass:
names of YAML files, and numbers, words and lists of them, of the right type and in a sensible
range. No setting names a class, a path, a machine or a number of processes. Settings of train.py
about the data, or about the place of training, are left out.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from crosscoder.data.exclude import NAMES as KINDS
from crosscoder.errors import UserError
from crosscoder.renamed import rename_key
from crosscoder.training.plain import Plain, parse_setting
from crosscoder.training.settings import N_SEEDS
from crosscoder.values import is_finite, is_whole, require_fraction, require_number, require_whole

MAX_WHOLE = 2**24  # of latents, and of any whole number in the settings of an object
MAX_NUMBER = 1e9  # of any other number
MAX_SETTINGS = 200
NAME = re.compile(r"\w+", re.ASCII)
# groups of YAML files
CHOICES = (
    "activation",
    "loss",
    "constraint",
    "scale",
    "optimizer",
    "trainer",
    "experiment",
    "debug",
)
# settings of objects: activation.k, loss.auxk.weight
OBJECTS = ("activation", "init", "schedule", "scale", "optimizer", "loss", "constraint")
SAYS = "the crosscoder says it was trained with"
PRECISIONS = (
    "16",
    "32",
    "64",
    "16-true",
    "16-mixed",
    "bf16",
    "bf16-true",
    "bf16-mixed",
    "32-true",
    "64-true",
)


def read_settings(provenance: Mapping[str, Any], most_latents: int = MAX_WHOLE) -> list[str]:
    """Return the settings of train.py by which a crosscoder's recipe differs from the default.

    Args:
        provenance: Provenance of the crosscoder.
        most_latents: Latents of the crosscoder; a setting may not ask for more.

    Raises:
        UserError: The settings are not a list of texts, or a setting of the recipe is not plain or
            out of range.
    """
    settings = []
    for text in _read_list(provenance):
        if not _is_of_recipe(text):
            continue
        setting = parse_setting(text)
        if setting is not None and _is_of_machine(setting):
            continue
        if setting is None or (setting.is_added and setting.key not in CHECKS):
            raise UserError(f"{SAYS} {_shorten(text)}, which is not a plain setting")
        setting = replace(setting, key=rename_key(setting.key))
        try:
            _check(setting, most_latents)
        except UserError as error:
            raise UserError(f"{SAYS} {_shorten(text)}: {error}") from error
        settings.append(setting.write())
    is_older = "settings" in provenance and "exclude" not in provenance
    if is_older and not any(setting.startswith("exclude=") for setting in settings):
        settings.append("exclude=[special]")  # the default of versions that knew no outliers
    return settings


def _read_list(provenance: Mapping[str, Any]) -> list[str]:
    """Return the recorded settings."""
    recorded = provenance.get("settings") or []
    is_list = isinstance(recorded, list)
    if not is_list or not all(isinstance(text, str) for text in recorded):
        raise UserError("provenance.settings of the crosscoder must be a list of strings")
    if len(recorded) > MAX_SETTINGS:
        raise UserError(f"{SAYS} {len(recorded)} settings: at most {MAX_SETTINGS} are allowed")
    return recorded


def _is_of_machine(setting: Plain) -> bool:
    """Return whether a setting of the trainer says where training runs, not what is trained."""
    return setting.key.startswith("trainer.") and setting.key not in CHECKS


def _is_of_recipe(text: str) -> bool:
    """Return whether a setting belongs to a recipe, and not to its data or its machine."""
    group = text.lstrip("+~").partition("=")[0].split(".")[0]
    return group in CHECKS or group in CHOICES or group in OBJECTS


def _check(setting: Plain, most_latents: int) -> None:
    """Refuse a value of the wrong type or size."""
    key = setting.key
    if key.rpartition(".")[2] == "n_latents":
        require_whole(key, setting.value, most=most_latents)
    elif key in CHECKS:
        CHECKS[key](key, setting.value)
    elif key in CHOICES:
        _require_names(key, setting.value)
    elif "." in key:
        _require_argument(key, setting.value)
    else:
        raise UserError(f"{key} is set as a whole; set its arguments, e.g. {key}.warmup=0.1")


def _require_names(key: str, value: Any) -> None:
    """Refuse a value that is not a name of a YAML file, a list of names, or null."""
    if value is None:
        return
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(f"{key} is a name or a list of names")


def _require_argument(key: str, value: Any) -> None:
    """Refuse an argument of an object with a number that is too large."""
    for item in value if isinstance(value, list) else [value]:
        if is_whole(item):
            require_whole(key, item, least=-MAX_WHOLE, most=MAX_WHOLE)
        elif isinstance(item, float):
            require_number(key, item, least=-MAX_NUMBER, most=MAX_NUMBER)


def _require_kinds(key: str, value: Any) -> None:
    if not isinstance(value, list) or not set(map(str, value)) <= set(KINDS):
        raise UserError(f"{key} is a list of {', '.join(KINDS)}")


def _require_target(key: str, value: Any) -> None:
    if value is not None and not (is_finite(value) and 0 < value <= MAX_WHOLE):
        raise UserError(f"{key} is a positive number of active latents, or null")


def _require_precision(key: str, value: Any) -> None:
    if str(value) not in PRECISIONS:
        raise UserError(f"{key} is one of {', '.join(PRECISIONS)}")


def _require_clipping(key: str, value: Any) -> None:
    if value is not None:
        require_number(key, value, least=0)


def _require_algorithm(key: str, value: Any) -> None:
    if value not in (None, "norm", "value"):
        raise UserError(f"{key} is norm or value")


def _require_betas(key: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise UserError(f"{key} are two numbers")
    for beta in value:
        require_number(key, beta, least=0, below=1)


def _require_learning_rate(key: str, value: Any) -> None:
    require_number(key, value, above=0, most=10)


def _require_positive_fraction(key: str, value: Any) -> None:
    require_fraction(key, value, above=0)


def _make_whole_check(least: int, most: int) -> Callable[[str, Any], None]:
    def check(key: str, value: Any) -> None:
        require_whole(key, value, least, most)

    return check


CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "n_latents": _make_whole_check(1, MAX_WHOLE),
    "k": _make_whole_check(1, MAX_WHOLE),
    "train_tokens": _make_whole_check(1, 10**12),
    "batch_size": _make_whole_check(1, 2**20),
    "seed": _make_whole_check(0, N_SEEDS - 1),
    "lr": _require_learning_rate,
    "dead_after": _require_positive_fraction,
    "l0_target": _require_target,
    "exclude": _require_kinds,
    "optimizer.lr": _require_learning_rate,
    "optimizer.betas": _require_betas,
    "trainer.precision": _require_precision,
    "trainer.gradient_clip_val": _require_clipping,
    "trainer.gradient_clip_algorithm": _require_algorithm,
}


def _shorten(text: str) -> str:
    """Return a setting for a message, cut and in ASCII."""
    return ascii(text) if len(text) <= 100 else f"{text[:100]!a}…"
