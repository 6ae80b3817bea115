"""Explain a mistyped setting in one line, with the name that was probably meant."""

import functools
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from crosscoder.cli.conf_files import ConfFile, list_all_keys, list_choices, list_groups
from crosscoder.errors import UserError, first_line, plain
from crosscoder.io.paths import looks_like_path

UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'")
UNKNOWN_CHOICE = re.compile(r"Could not (?:find|load) '((?:hydra/)?\w+)/([^']*)'")
NAMELESS = re.compile(r"[+~]*(?:@[^=]*)?(?:=.*)?", re.DOTALL)
GRAMMAR_LINK = "See https"


def explain_mistakes(conf: Path, config: str) -> Callable[[Callable], Callable]:
    """Decorate a command so that it explains Hydra's errors about the command line.

    Args:
        conf: Folder of the configuration.
        config: Name of the command's configuration.
    """

    def decorate(main: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(main)
        def wrapped(*args: Any) -> Any:
            if not args:  # otherwise Hydra has read the command line already
                check_arguments(sys.argv[1:], conf, config)
            try:
                return main(*args)
            except (HydraException, OmegaConfBaseException) as error:
                explained = explain(error, conf, config)
                if explained is None:
                    raise
                raise UserError(explained) from error
            except (TypeError, ValueError, AttributeError) as error:
                if not _is_from_hydra(error):
                    raise
                raise UserError(f"cannot read the command line: {first_line(error)}") from error

        return wrapped

    return decorate


def explain(error: Exception, conf: Path, config: str) -> str | None:
    """Describe an error of the command line in one line; None for another error."""
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error, conf, config)
    if isinstance(error, MissingMandatoryValue):
        return _explain_missing(str(error.full_key or error.key), conf, config)
    message = str(error)
    if found := UNKNOWN_CHOICE.search(message):
        return _explain_choice(found[1], found[2], conf)
    if found := UNKNOWN_KEY.search(message):
        return _explain_key(found[1], conf, config)
    return None


def check_arguments(arguments: Iterable[str], conf: Path, config: str) -> None:
    """Refuse arguments that Hydra answers with a traceback.

    These are a value without a key, and a choice that is no name.

    Raises:
        UserError: An argument is refused.
    """
    groups = list_groups(conf, config)
    for argument in arguments:
        if NAMELESS.fullmatch(argument):
            raise UserError(f"{argument!r} is no setting: write KEY=VALUE")
        group = argument.partition("=")[0].lstrip("+").partition("@")[0]
        if group not in groups or argument.startswith("~"):
            continue
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # Hydra raises it again, with its message
            continue
        value = override.value()
        if override.is_sweep_override() or isinstance(value, str | list):
            continue
        names = ", ".join(list_choices(conf, group))
        shown = argument.partition("=")[2]
        raise UserError(f"{group} is the name of a choice ({names}), not {shown}")


def _is_from_hydra(error: Exception) -> bool:
    """Return whether Hydra itself raised an error, not what it called."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("hydra.")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?`, or nothing if no known name is similar."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _explain_syntax(error: OverrideParseException, conf: Path, config: str) -> str:
    text = str(error.override)
    if "=" in text:
        reason = plain(str(error).partition(GRAMMAR_LINK)[0])
        return f"cannot read {text!r} ({reason}): quote odd characters, KEY='\"VALUE\"'"
    if config == "evaluate":
        return f"'{text}' is no setting: write crosscoder={text}"
    if looks_like_path(text) or Path(text).exists():
        return f"'{text}' is no setting: write resume={text} to continue that run"
    known = list_all_keys(conf, config)
    if text in known:
        return f"'{text}' has no value: write {text}=VALUE"
    return f"'{text}' is no setting: write KEY=VALUE{suggest(text, known)}"


def _explain_missing(key: str, conf: Path, config: str) -> str:
    """Describe a key without a value by the comment at it."""
    name = re.sub(r"\[(\d+)\]", r".\1", key)
    files = [ConfFile(conf / f"{config}.yaml").list_keys()]
    group = name.partition(".")[0]
    for file in list_choices(conf, group).values():
        files.append(file.list_keys(f"{file.package}."))
    for keys in files:
        for known in keys:
            if known.name == name and known.default.strip("\"'") == "???":
                return f"{name} is not set: it is {known.comment}"
    return f"{name} is not set: give it as {name}=VALUE"


def _explain_choice(group: str, name: str, conf: Path) -> str:
    choices = list_choices(conf, group)
    return f"no {group} '{name}' (there is {', '.join(choices)}){suggest(name, choices)}"


def _explain_key(key: str, conf: Path, config: str) -> str:
    known = list_all_keys(conf, config)
    if owners := known.get(key):
        choices = " or ".join(owners)
        return f"'{key}' is a setting of {choices}, which is not chosen"
    return f"no setting '{key}' (--help lists all){suggest(key, known)}"
