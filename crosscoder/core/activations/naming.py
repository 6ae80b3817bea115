"""Names of activations: the last word of their module, which a saved crosscoder holds."""

import sys
from pathlib import Path

from torch import nn

from crosscoder.errors import UserError

PACKAGE = "crosscoder.core.activations"
NOT_ACTIVATIONS = ("base", "naming", "registry")


def package_names() -> list[str]:
    """Return the names of the package's own activations."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(file.stem for file in files if file.stem not in NOT_ACTIVATIONS)


def last_word(module: str) -> str:
    """Return the last word of a dotted module name.

    For a script, which runs as `__main__`, this is the name under which it can be imported.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if module == "__main__" and script is not None:  # a notebook has no file
        return Path(script).stem
    return module.rpartition(".")[2]


def config_name(name: str) -> str:
    """Return the name in conf/activation of the activation in a module of this name."""
    return name.removeprefix("learnt_")


def display_name(activation: nn.Module) -> str:
    """Return the name of an activation for messages: the one in conf/activation."""
    return config_name(last_word(type(activation).__module__))


def saved_name(cls: type) -> str:
    """Return the name under which an activation class is saved.

    Raises:
        UserError: A class outside of the package would be loaded as one of the package's own.
    """
    name = last_word(cls.__module__)
    if name in package_names() and cls.__module__ != f"{PACKAGE}.{name}":
        raise UserError(
            f"activation {cls.__name__} of {cls.__module__} cannot be saved: '{name}' names an "
            "activation of the package; rename the module"
        )
    return name
