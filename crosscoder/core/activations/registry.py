"""Activations by name: those of this folder, and one of a module that the user names."""

import importlib
from types import ModuleType
from typing import Any

from crosscoder.core.activations.base import Activation
from crosscoder.core.activations.naming import PACKAGE, last_word, package_names
from crosscoder.errors import UserError

# largest number that a saved activation may have as an argument, so that a file cannot ask for more
# memory than any crosscoder needs
LARGEST_ARGUMENT = 2**28


def find_activations() -> dict[str, type[Activation]]:
    """Return the package's activation classes by the name of their module."""
    return {name: _activation_class(_import(f"{PACKAGE}.{name}")) for name in package_names()}


def from_spec(spec: dict[str, Any], activation_module: str | None = None) -> Activation:
    """Build the activation that a saved crosscoder names, with scalars as arguments.

    Args:
        spec: Result of `Activation.spec`.
        activation_module: Module, e.g. "my_package.my_activation", of an activation outside of the
            package. Only the user may name it: a file holds the module's last word, and a word
            that neither the package nor this argument has is refused.

    Raises:
        UserError: The activation is unknown, or the arguments do not fit it.
    """
    arguments = dict(spec)
    name = arguments.pop("name", None)
    module = _module_of(name, activation_module)
    _check_arguments(name, arguments)
    cls = _activation_class(_import(module))
    try:
        return cls(**arguments)
    except TypeError as error:
        raise UserError(f"activation '{name}': {error}") from error


def _module_of(name: Any, activation_module: str | None) -> str:
    known = package_names()
    if name in known:
        return f"{PACKAGE}.{name}"
    if activation_module is None:
        hint = "for one outside of the package, name its module with activation_module"
    elif name == last_word(activation_module):
        return activation_module
    else:
        hint = f"activation_module={activation_module} has another name"
    raise UserError(f"unknown activation {name!r}: expected one of {', '.join(known)}; {hint}")


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    for key, value in arguments.items():
        if not isinstance(value, str | int | float | bool | None):
            raise UserError(f"activation '{name}' takes scalars only, not {key}")
        if isinstance(value, int | float) and abs(value) > LARGEST_ARGUMENT:
            raise UserError(f"activation '{name}': {key} is larger than any crosscoder")


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"cannot import the activation's module {module}: {error}") from error


def _activation_class(module: ModuleType) -> type[Activation]:
    """Return the one subclass of Activation that a module defines."""
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Activation)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UserError(
            f"expected one subclass of Activation in module {module.__name__}, found {len(classes)}"
        )
    return classes[0]
