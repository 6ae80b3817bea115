"""The real configuration, composed as the command line does, and what there is to choose in it."""

from functools import cache

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from crosscoder.core.activations import Activation
from crosscoder.installation import find_conf

CONF = find_conf()
GROUPS = sorted(
    folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra"
)


def choices(group: str) -> list[str]:
    """Return the names of a group's YAML files."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def composed(*overrides: str, config: str = "train") -> DictConfig:
    """Compose the configuration of `train.py` (or `evaluate.py`) with these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config, overrides=list(overrides))


def activation_of(name: str, n_latents: int = 24, k: int = 4) -> Activation:
    """Make a new activation from its YAML file."""
    return instantiate(_activation_config(name, n_latents, k))


@cache
def _activation_config(name: str, n_latents: int, k: int) -> DictConfig:
    return composed(f"activation={name}", f"n_latents={n_latents}", f"k={k}").activation
