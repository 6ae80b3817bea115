"""Settings of the command line, and the configuration of the run to resume."""

import functools
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from crosscoder.cli.arguments import rename_arguments
from crosscoder.cli.targets import require_targets
from crosscoder.errors import UserError, first_line
from crosscoder.io.run_dir import Run
from crosscoder.renamed import rename_settings

# keys that train.py reads from a run's configuration
REQUIRED_KEYS = (
    "stage",
    "seed",
    "recipe",
    "trainer",
    "models",
    "data",
    "harvest",
    "eval",
    "logger",
    "overrides",
)


def accept_old_names(main: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command so that settings with names of the last version work, with a warning."""

    @functools.wraps(main)
    def wrapped(*args: Any) -> Any:
        if not args:  # otherwise Hydra is given a configuration, and ignores the command line
            rename_arguments()
        return main(*args)

    return wrapped


def list_overrides() -> list[str]:
    """List the settings of the command line. Outside of a command there are none."""
    if not HydraConfig.initialized():
        return []
    return list(HydraConfig.get().overrides.task)


def require_run_name(run: Any) -> None:
    """Refuse a run folder that has no name: its files would be written into the current folder.

    Raises:
        UserError: The name is empty or no text.
    """
    if not isinstance(run, str) or not run.strip():
        raise UserError(f"run is the name of a folder, e.g. outputs/first, not {run!r:.80}")


def has_chosen_evals(settings: list[str]) -> bool:
    """Return whether the user chose evals by name.

    A chosen eval that does not apply to the crosscoder is an error; a default one is skipped.
    """
    return any(setting.startswith("eval=") for setting in settings)


def load_resume_config(run_dir: str) -> DictConfig:
    """Load the saved configuration of the run to resume. Reject other overrides.

    Raises:
        UserError: There is no such run, its configuration cannot be used, or the command line has
            other overrides.
    """
    run = Run(run_dir)
    _require_no_other_overrides()
    if not run.config.is_file():
        raise UserError(f"no run to resume at {run_dir}: there is no {run.config.name}")
    return read_config(run)


def read_config(run: Run) -> DictConfig:
    """Read a run's configuration, and refuse one that names classes which nobody allowed.

    Raises:
        UserError: The file is damaged, or names such a class.
    """
    try:
        text = run.config.read_text(encoding="utf-8")
        cfg = _parse_config(text, str(run.folder))
    except Exception as error:  # anything that a damaged file can cause
        raise UserError(
            f"{run.config} is not the configuration of a run: {first_line(error)}"
        ) from error
    require_targets(OmegaConf.to_container(cfg), text, run.config)
    return cfg


def _require_no_other_overrides() -> None:
    others = []
    for override in list_overrides():
        if not override.lstrip("+").startswith(("resume=", "hydra.")):
            others.append(override)
    if others:
        raise UserError(
            f"cannot combine resume= with other overrides ({' '.join(others)}): "
            "a resumed run keeps its saved config"
        )


def _parse_config(text: str, run_dir: str) -> DictConfig:
    """Parse a saved configuration and give the settings of older versions their new names."""
    saved = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(saved, dict):
        raise ValueError(f"expected a mapping, found {type(saved).__name__}")
    settings = {str(key): value for key, value in saved.items()}
    cfg = OmegaConf.create(rename_settings(settings))
    cfg.run = run_dir
    OmegaConf.resolve(cfg)
    missing = [key for key in REQUIRED_KEYS if key not in cfg]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return cfg
