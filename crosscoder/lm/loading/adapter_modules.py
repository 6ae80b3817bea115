"""Make peft's configuration of an adapter, with names of modules instead of regular expressions.

A regular expression can take forever on a short name, and it comes from whoever wrote the adapter.
So it is matched by pydantic's engine, whose time is linear, and peft gets the names of modules.
"""

import dataclasses
import re
import warnings
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError
from torch import nn

from crosscoder.errors import UserError, plain
from crosscoder.lm.loading.adapter_config import BASE_CHANGING, AdapterSettings

if TYPE_CHECKING:
    from peft import PeftConfig

PLAIN_NAME = re.compile(r"[\w.\-]+")
MAX_PATTERN = 10_000  # characters
MODULE_SETTINGS = ("target_modules", "exclude_modules", "feedforward_modules")
PATTERN_SETTINGS = ("rank_pattern", "alpha_pattern", "n_frequency_pattern")


def make_config(
    kind: str, settings: AdapterSettings, model: nn.Module, source: str
) -> "PeftConfig":
    """Make peft's configuration of an adapter for a model.

    Args:
        kind: The adapter's type.
        settings: Its settings.
        model: The base model, whose modules regular expressions are matched with.
        source: The file of the settings, for messages.

    Raises:
        UserError: A setting does not belong to this kind, or a regular expression is invalid.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType

    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
    fields = {field.name for field in dataclasses.fields(config_class)}
    arguments: dict[str, Any] = {}
    for key, value in settings.model_dump(exclude_none=True).items():
        if key in fields:
            arguments[key] = value
        elif value not in (False, "", [], {}):
            raise UserError(f"{source}: {key} is not a setting of a {kind} adapter")
    for key in MODULE_SETTINGS:
        pattern = arguments.get(key)
        if isinstance(pattern, str) and pattern != "all-linear":
            arguments[key] = match_modules(pattern, model, f"{source}: {key}")
    for key in PATTERN_SETTINGS:
        if key in arguments:
            arguments[key] = _match_keys(arguments[key], model, f"{source}: {key}")
    if arguments.get("init_lora_weights") not in (None, *BASE_CHANGING):
        arguments["init_lora_weights"] = True  # the file's weights replace them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about training and saving adapters
        return config_class(**arguments)


def _match_keys(by_pattern: dict[str, Any], model: nn.Module, entry: str) -> dict[str, Any]:
    """Replace regular expressions for the ends of module names by the names of matching modules.

    If several expressions match a module, the first one counts.
    """
    matched: dict[str, Any] = {}
    for pattern, value in by_pattern.items():
        if PLAIN_NAME.fullmatch(pattern):
            matched.setdefault(pattern, value)
            continue
        for name in match_modules(rf"(?:.*\.)?(?:{pattern})", model, entry):
            matched.setdefault(f"^{re.escape(name)}", value)
    return matched


def match_modules(pattern: str, model: nn.Module, entry: str) -> list[str]:
    """List the modules whose whole names match a regular expression, in linear time.

    Args:
        pattern: The regular expression.
        model: The model.
        entry: The file and the setting, for messages.

    Raises:
        UserError: The expression is invalid, or needs an engine that can take forever.
    """
    try:
        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"it has {len(pattern)} characters")
        re.compile(pattern)
        linear = TypeAdapter(Annotated[str, StringConstraints(pattern=rf"\A(?:{pattern})\z")])
    except (re.error, ValueError, OverflowError, RecursionError, SchemaError) as error:
        raise UserError(
            f"{entry} is not a regular expression that can be used: {plain(error, 100)}"
        ) from error
    found = []
    for name, _ in model.named_modules():
        try:
            linear.validate_python(name)
        except ValidationError:
            continue
        found.append(name)
    return found
