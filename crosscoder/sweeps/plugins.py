"""Placeholders for Hydra plugins that are not installed.

A choice of such a plugin can be composed, so that it can be refused with the missing extra's name.
"""

import importlib.util

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from crosscoder.errors import UserError
from crosscoder.installation import name_install

# group and name of the choice -> module of the plugin, and our extra that installs it
PLUGINS = {
    ("hydra/launcher", "joblib"): ("hydra_joblib_launcher", "sweeps"),
    ("hydra/launcher", "submitit_slurm"): ("hydra_submitit_launcher", "slurm"),
    ("hydra/launcher", "ray"): ("hydra_ray_launcher", "ray"),
    ("hydra/sweeper", "optuna"): ("hydra_optuna_sweeper", "sweeps"),
}


def register_missing_plugins() -> None:
    """Register a placeholder for every plugin that is not installed."""
    OmegaConf.register_new_resolver("missing", _refuse, replace=True)
    for (group, name), (module, extra) in PLUGINS.items():
        if not _is_installed(module):
            node = {"_target_": f"${{missing:{group}/{name},{extra}}}"}
            ConfigStore.instance().store(group=group, name=name, node=node)


def _refuse(name: str, extra: str) -> None:
    raise UserError(f"{name} needs a plugin of Hydra: {name_install(extra)}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # no plugin at all is installed
        return False
