"""Cast a model's weights, and leave alone what is computed in full precision."""

import torch

from crosscoder.lm.types import PreTrainedModel


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast what a checkpoint holds, as `from_pretrained(dtype=…)` of transformers does.

    Buffers that no checkpoint holds keep their dtype. Among them are the frequencies of rotary
    positions, which half precision would round.
    """
    saved = model.state_dict()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name in saved and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
