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
    """The kernels for tensors on this kind of device: triton's on CUDA where it is installed, else torch's own."""
    choice = asked()
    if choice in ("", "reference"):
        triton_runs = device_type == "cuda" and importlib.util.find_spec("triton") is not None
        choice = "triton" if triton_runs else "embedding"
    return importlib.import_module(f"crosscoder.kernels.{choice}")


def reference() -> bool:
    """Whether every code is to be dense."""
    return asked() == "reference"
