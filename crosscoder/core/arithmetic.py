"""The dtype in which a device multiplies matrices, and the device on which evals add up.

Half precision is used only where it is fast. A CPU without instructions for bfloat16 or float16
multiplies them element by element, several times more slowly than float32. There the same numbers
are multiplied in float32, with smaller errors.
"""

from functools import cache

import torch


def choose_product_dtype(dtype: torch.dtype, device_type: str) -> torch.dtype:
    """Return `dtype`, or float32 for a half precision that the device has no fast products for.

    Args:
        dtype: The dtype asked for.
        device_type: "cpu", "cuda", …
    """
    is_half = dtype in (torch.bfloat16, torch.float16)
    if is_half and device_type == "cpu" and not has_fast_products(dtype):
        return torch.float32
    return dtype


@cache
def has_fast_products(dtype: torch.dtype) -> bool:
    """Return whether this machine's CPU multiplies matrices of a half precision fast."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_fp16_supported()


def choose_sum_device(device: torch.device) -> torch.device:
    """Return a device, or the CPU for one without float64, in which evals add up."""
    return torch.device("cpu") if device.type == "mps" else device
