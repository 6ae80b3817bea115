"""Who does the sums over a sparse code's entries; chosen once per kind of device.

A kernel module has two functions, `bag` and `dots` (documented in `embedding`); `sparse.Index` says what they are for.

CROSSCODER_KERNELS=embedding|triton asks for one of them; CROSSCODER_KERNELS=reference does without: every code is then dense,
in fp32 and through plain autograd, which is slow and what the others are compared with.
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
def asked() -> str:
    """What the environment asks for, "" if nothing; read once.

    Raises:
        UserError: there is no such choice.
    """
    choice = os.environ.get(VARIABLE, "")
    if choice and choice not in CHOICES:
        raise UserError(f"{VARIABLE} is {', '.join(CHOICES)} or unset, not '{choice}'")
    return choice


@cache
def of(device_type: str) -> ModuleType:
    """The kernels for tensors on this kind of device: triton's on CUDA where it is installed, else torch's own.

    Raises:
        UserError: triton's are asked for, and cannot run here.
    """
    choice = asked()
    installed = importlib.util.find_spec("triton") is not None
    runs = device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    if choice == "triton" and not (installed and runs):
        why = f"tensors are on the {device_type}" if installed else "triton is not installed"
        raise UserError(f"{VARIABLE}=triton needs triton and a CUDA device, but {why}")
    if choice in ("", "reference"):
        choice = "triton" if installed and device_type == "cuda" else "embedding"
    return importlib.import_module(f"crosscoder.kernels.{choice}")


def reference() -> bool:
    """Whether every code is to be dense."""
    return asked() == "reference"
