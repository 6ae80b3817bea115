"""Pairs that are configured in conf/models."""

from inspect import signature
from typing import Any

import yaml

from crosscoder.errors import UserError
from crosscoder.installation import find_conf
from crosscoder.lm.pair import Pair


def load_pair(name: str, **overrides: Any) -> Pair:
    """Build the pair of conf/models/NAME.yaml, e.g. `load_pair("gemma3_270m", device="cuda")`.

    Args:
        name: A file in conf/models, without its ending.
        **overrides: Arguments of `Pair` that replace those of the file.

    Raises:
        UserError: There is no such file.
    """
    folder = find_conf() / "models"
    file = folder / f"{name}.yaml"
    known_names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known_names:
        raise UserError(f"no pair {name!r:.80}; conf/models has {', '.join(known_names)}")
    known = list(signature(Pair).parameters)
    unknown = [key for key in overrides if key not in known]
    if unknown:
        raise UserError(f"a pair has no {', '.join(unknown)}; it has {', '.join(known)}")
    settings = yaml.safe_load(file.read_text())
    settings.pop("_target_", None)
    return Pair(**{**settings, **overrides})
