"""Read OpenMOSS's settings. Defaults are the library's.

act_fn relu, top_k 50, norm_activation dataset-wise, decoder norms and biases included.
"""

from collections.abc import Mapping
from typing import Any

from crosscoder.errors import UserError
from crosscoder.formats.settings import read_setting, require_choice

ACTIVATIONS = ("relu", "jumprelu", "topk")
NORMS = ("inference", "dataset-wise")


def read_activation(config: Mapping[str, Any], file_name: str) -> str:
    """Return the name of the activation."""
    return require_choice(config.get("act_fn", "relu"), ACTIVATIONS, f"{file_name}: act_fn")


def read_is_scaled(config: Mapping[str, Any], file_name: str) -> bool:
    """Tell whether the weights read scaled activations."""
    norm = config.get("norm_activation", "dataset-wise")
    return require_choice(norm, NORMS, f"{file_name}: norm_activation") == "dataset-wise"


def read_hook(config: Mapping[str, Any], file_name: str) -> str:
    """Return the place that is read and written.

    Raises:
        UserError: It is a transcoder, which has two places, or has a gated encoder.
    """
    hook = read_setting(config, "hook_point_in", str, file_name)
    if read_setting(config, "hook_point_out", str, file_name, hook) not in ("", hook):
        raise UserError(
            f"{file_name}: hook_point_out differs from hook_point_in: "
            "it is a transcoder, which is not supported"
        )
    if config.get("use_glu_encoder"):
        raise UserError(f"{file_name}: use_glu_encoder: gated encoders are not supported")
    return hook


def read_k(config: Mapping[str, Any], n_latents: int, file_name: str) -> int:
    """Return the number of active latents."""
    k = read_setting(config, "top_k", int, file_name, 50)
    if not 0 < k <= n_latents:
        raise UserError(f"{file_name}: top_k = {k}, but there are {n_latents} latents")
    return k


def read_lengths(config: Mapping[str, Any], file_name: str) -> dict[str, int]:
    """Return the lengths of the axes d and, if the settings have it, F."""
    d = read_setting(config, "d_model", int, file_name)
    if "expansion_factor" not in config:
        return {"d": d}
    factor = read_setting(config, "expansion_factor", (int, float), file_name)
    return {"d": d, "F": int(d * factor)}
