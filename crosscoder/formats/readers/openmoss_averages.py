"""Read the average norms by which OpenMOSS's dictionaries scale activations to √d.

    dataset_average_activation_norm.HOOK []

The library stores them whether it has measured them or not: an average that was never set holds
arbitrary memory. A value outside the range of activation norms is taken for that, and the user must
pass the factors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.formats.folder import Folder
from crosscoder.formats.input_scale import InputScale, reject_input_scale, require_input_scale
from crosscoder.formats.tensors import Tensors

# norms of residual streams run from about 0.1 (embeddings of small models) to 1e6 (the last layers
# of large ones)
SMALLEST_NORM = 1e-3
LARGEST_NORM = 1e8
PREFIX = "dataset_average_activation_norm."


def is_plausible_norm(average: float | Tensor) -> bool:
    """Tell whether a number can be an average norm of activations."""
    return bool(SMALLEST_NORM < average < LARGEST_NORM)


def take_scale(
    file: Tensors,
    hooks: Sequence[str],
    is_scaled: bool,
    input_scale: InputScale,
    sources: Sources,
    folder: Folder,
) -> Tensor | None:
    """Take the divisor of the activations, [d_total]; None where the weights read raw ones.

    Args:
        file: Weights; all averages are taken from it.
        hooks: Hook point of each source.
        is_scaled: True if the weights read scaled activations, according to config.json.
        input_scale: The user's factors.
        sources: Sources of the dictionary.
        folder: Folder, for messages.

    Raises:
        UserError: The factors are needed but neither stored nor passed, or passed but not needed.
    """
    are_stored = all(f"{PREFIX}{hook}" in file for hook in hooks)
    averages = [file.take(f"{PREFIX}{hook}", "", missing=0.0, finite=False) for hook in hooks]
    file.drop([name for name in file.left if name.startswith(PREFIX)])
    if not is_scaled:
        reject_input_scale(input_scale, folder)
        return None
    if all(map(is_plausible_norm, averages)):
        reject_input_scale(input_scale, folder)
        widths = torch.tensor(sources.widths)
        return (torch.stack(averages) / widths.sqrt()).repeat_interleave(widths)
    if are_stored:
        found = ", ".join(f"{float(average):.3g}" for average in averages)
        reason = f"dataset_average_activation_norm is {found}: never set"
    else:
        reason = f"It lacks {PREFIX}HOOK"
    hint = f"{reason}. They are √d / mean‖x‖."
    return 1 / require_input_scale(input_scale, sources, folder, hint)
