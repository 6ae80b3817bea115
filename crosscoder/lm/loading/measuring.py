"""Tools of the measurements on models: random tokens, recorded passes, errors and tolerances.

Errors of activations are relative, per token: mean_t ‖a_t − b_t‖ / ‖b_t − median_t b_t‖. Two passes
of equal shape in which only hidden tokens differ must agree to `get_strict_tolerance(dtype)`.
Passes of unequal shape, whose sums run in another order, must agree to
`get_rounding_tolerance(dtype)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from crosscoder.errors import UserError
from crosscoder.lm.architectures import describe_model
from crosscoder.lm.hooks import Hookpoint, read, run_decoder
from crosscoder.lm.types import PreTrainedModel

N_IDS = 12  # tokens of the checks that do not depend on a row's length
SPECIAL_IDS = (
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "image_token_id",
    "image_token_index",
)


def get_strict_tolerance(dtype: torch.dtype) -> float:
    """Return the largest error of two passes of equal shape."""
    return torch.finfo(dtype).eps ** 0.5 / 8


def get_rounding_tolerance(dtype: torch.dtype) -> float:
    """Return the largest error of two passes of unequal shape."""
    return torch.finfo(dtype).eps ** 0.5


def measure_token_error(a: Tensor, b: Tensor) -> float:
    """Return the mean over tokens of ‖a − b‖ / ‖b − median of b over tokens‖, both [n, d]."""
    a = a.float()
    b = b.float()
    size = (b - b.median(0).values).norm(dim=-1)
    size = torch.where(size > 0, size, b.norm(dim=-1)).clamp(min=1e-12)
    return float(((a - b).norm(dim=-1) / size).mean())


def measure_relative_error(a: Tensor, b: Tensor) -> float:
    """Return ‖a − b‖ / ‖b‖ over all entries."""
    return float((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-12))


def random_ids(model: PreTrainedModel, n: int, seed: int = 0) -> Int[Tensor, "n"]:
    """Draw ids of ordinary tokens, i.e. any but the model's own special ones."""
    config: Any = model.config.get_text_config(decoder=True)
    embeddings: Any = model.get_input_embeddings()
    special: set[Any] = set()
    for source in (config, model.config, model.generation_config):
        for name in SPECIAL_IDS:
            value = getattr(source, name, None)
            special.update(value if isinstance(value, list) else [value])
    size = min(int(config.vocab_size), len(embeddings.weight))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(size, (4 * n + 16,), generator=generator).tolist()
    ordinary = [i for i in drawn if i not in special]
    return torch.tensor(ordinary[:n])


def read_row(model: PreTrainedModel, hookpoint: Hookpoint, ids: Tensor) -> Tensor:
    """Read one row of tokens, [n, d]."""
    positions = torch.arange(len(ids), device=model.device)[None]
    return read(model, [hookpoint], ids[None].to(model.device), positions)[hookpoint][0]


@dataclass(frozen=True)
class RecordedPass:
    """First inputs and outputs of some modules in a forward pass, by the names of the modules."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def record_pass(
    model: PreTrainedModel, modules: Mapping[str, Any], ids: Tensor, with_head: bool = False
) -> RecordedPass:
    """Run a model on one row and record the first input and output of some modules.

    Args:
        model: The model.
        modules: The modules to record, by any names.
        ids: The tokens, [n].
        with_head: Run the whole model; otherwise the model up to its head.
    """
    recorded = RecordedPass({}, {})
    handles = []
    for name, module in modules.items():
        handles += _attach_recorder(model, name, module, recorded)
    row = ids[None].to(model.device)
    try:
        if with_head:
            model(input_ids=row, use_cache=False)
        else:
            run_decoder(model, row, torch.arange(len(ids), device=model.device)[None])
    finally:
        for handle in handles:
            handle.remove()
    return recorded


def _attach_recorder(
    model: PreTrainedModel, name: str, module: nn.Module, recorded: RecordedPass
) -> list[Any]:
    def before(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        values = [*args, kwargs.get("hidden_states"), *kwargs.values()]
        first = next(value for value in values if isinstance(value, Tensor))
        recorded.inputs.setdefault(name, first.clone())

    def after(_: nn.Module, args: tuple, output: Any) -> None:
        if hasattr(output, "_fields"):
            raise UserError(
                f"{describe_model(model)} is not supported: its layers have several streams"
            )
        first = output[0] if isinstance(output, tuple | list) else output
        recorded.outputs.setdefault(name, first.clone())

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]
