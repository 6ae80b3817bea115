"""Kernel backends of the sums over a sparse code's entries, selected once per kind of device.

A backend is a module with two functions, `bag` and `dots`, which are documented in `embedding`;
`sparse.Index` uses them.

CROSSCODER_KERNELS=embedding|triton selects a backend. With CROSSCODER_KERNELS=reference every code
is dense, in fp32 and through plain autograd: slow, and the reference for the backends.
"""

import importlib
import importlib.util
import os
from functools import cache
from types import ModuleType

from crosscoder.errors import UserError

VARIABLE = "CROSSCODER_KERNELS"
CHOICES = ("embedding", "triton", "reference")


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
    """Return the backend for a kind of device: triton on CUDA if it is installed, else embedding.

    Raises:
        UserError: triton is asked for, but it cannot run here.
    """
    choice = requested_backend()
    installed = importlib.util.find_spec("triton") is not None
    can_run = device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    if choice == "triton" and not (installed and can_run):
        reason = f"tensors are on the {device_type}" if installed else "triton is not installed"
        raise UserError(f"{VARIABLE}=triton needs triton and a CUDA device, but {reason}")
    if choice in ("", "reference"):
        choice = "triton" if installed and device_type == "cuda" else "embedding"
    return importlib.import_module(f"crosscoder.core.kernels.{choice}")


def is_reference() -> bool:
    """Return whether the environment asks for dense codes (CROSSCODER_KERNELS=reference)."""
    return requested_backend() == "reference"
