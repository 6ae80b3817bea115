"""Behaviours that are configured in conf/behaviour, for use in Python."""

from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.cli.targets import CONF
from crosscoder.errors import UserError, first_line


def load_behaviour(name: str, **overrides: Any) -> BehaviourSpec:
    """Build the behaviour of conf/behaviour/NAME.yaml, e.g. `load_behaviour("expertise")`.

    Args:
        name: A file in conf/behaviour, without its ending.
        **overrides: Settings that replace those of the file. A mapping replaces only the entries
            that it has: `questions={"path": "questions.jsonl"}`.

    Raises:
        UserError: There is no such file, or the settings make no behaviour.
    """
    folder = CONF / "behaviour"
    file = folder / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise UserError(f"no behaviour '{name}'; conf/behaviour has {known}")
    settings = OmegaConf.merge(OmegaConf.load(file), OmegaConf.create(overrides))
    missing = sorted(OmegaConf.missing_keys(settings))
    if missing:
        raise UserError(f"the behaviour '{name}' needs values for {', '.join(missing)}")
    try:
        return cast(BehaviourSpec, instantiate(settings, _convert_="all"))
    except OmegaConfBaseException as error:
        raise UserError(f"the behaviour '{name}': {first_line(error)}") from error
