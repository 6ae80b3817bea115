"""Kernel backends of sparse codes, selected once per kind of device.

A backend is a module with three functions, which are documented in `embedding`: `list_above`, which
`select` uses, and the sums over a code's entries `bag` and `dots`, which `sparse.Index` uses.

CROSSCODER_KERNELS=compiled|embedding|triton selects a backend. With CROSSCODER_KERNELS=reference
every code is dense, in fp32 and through plain autograd: slow, and the reference for the backends.
"""

import importlib
import importlib.util
import os
from functools import cache
from types import ModuleType

from crosscoder.errors import UserError

VARIABLE = "CROSSCODER_KERNELS"
CHOICES = ("compiled", "embedding", "triton", "reference")


@cache
def requested_backend() -> str:
    """Return the backend that the environment asks for, or ""; it is read once.

    Raises:
        UserError: There is no such backend.
    """
    choice = os.environ.get(VARIABLE, "")
    if choice and choice not in CHOICES:
        raise UserError(f"{VARIABLE} is {', '.join(CHOICES)} or unset, not '{choice}'")
    return choice


@cache
def get_backend(device_type: str) -> ModuleType:
    """Return the backend for a kind of device.

    It is triton on CUDA and compiled on CPUs if they can run there, else embedding.

    Raises:
        UserError: A backend is asked for that cannot run here.
    """
    choice = requested_backend()
    if choice == "triton":
        _require_triton(device_type)
    elif choice == "compiled":
        _require_compiled(device_type)
    elif choice != "embedding":
        choice = _choose_backend(device_type)
    return importlib.import_module(f"crosscoder.core.kernels.{choice}")


def _choose_backend(device_type: str) -> str:
    if device_type == "cuda" and _has_triton():
        return "triton"
    if device_type == "cpu" and not is_reference() and _has_compiled():
        return "compiled"
    return "embedding"


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _has_compiled() -> bool:
    from crosscoder.core.kernels import compiled

    return compiled.can_compile()


def _require_triton(device_type: str) -> None:
    can_run = device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    if _has_triton() and can_run:
        return
    reason = f"tensors are on the {device_type}" if _has_triton() else "triton is not installed"
    raise UserError(f"{VARIABLE}=triton needs triton and a CUDA device, but {reason}")


def _require_compiled(device_type: str) -> None:
    if device_type != "cpu":
        raise UserError(f"{VARIABLE}=compiled is for the CPU, but tensors are on the {device_type}")
    if not _has_compiled():
        raise UserError(f"{VARIABLE}=compiled needs a C++ compiler that works, with OpenMP")


def is_reference() -> bool:
    """Return whether the environment asks for dense codes (CROSSCODER_KERNELS=reference)."""
    return requested_backend() == "reference"
