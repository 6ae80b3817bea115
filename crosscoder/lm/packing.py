"""Choose the layout that isolates documents in one row for a language model (see `layout.py`).

The first packing is used in which a document has the activations that it has alone. This is
measured once per model, at the hookpoints that are read and with rows of the length that is read.
`loading/measuring.py` defines the errors and tolerances.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import get_args
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.io.known import cache_dir
from crosscoder.io.run_dir import write_json
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import Hookpoint, read, run_decoder
from crosscoder.lm.layout import Layout, Packing
from crosscoder.lm.loading.measuring import (
    get_rounding_tolerance,
    get_strict_tolerance,
    measure_token_error,
    random_ids,
)
from crosscoder.lm.loading.sites import check_site
from crosscoder.lm.types import PreTrainedModel

Measured = dict[str, tuple[bool, float]]
"""By packing: whether it fits, and the largest error."""

_chosen: "WeakKeyDictionary[PreTrainedModel, dict[tuple, Packing]]" = WeakKeyDictionary()


@torch.inference_mode()
def measure_packings(
    model: PreTrainedModel, hookpoints: Sequence[Hookpoint], seq_len: int
) -> Measured:
    """Compare a document that shares a row with the same document alone, in every packing.

    The document is as long as the row allows, so that sliding windows and chunks count if a row is
    longer than they are.

    Args:
        model: The language model.
        hookpoints: Where activations are compared.
        seq_len: Tokens in a row.
    """
    n_first = max(1, seq_len // 3)
    ids = random_ids(model, seq_len)
    document = ids[n_first:]
    alone = _read_row(model, hookpoints, document)
    padded = _read_row(model, hookpoints, torch.cat([document, ids[:n_first]]))
    padding_error = _measure_largest([acts[: len(document)] for acts in padded], alone)
    tolerance = get_rounding_tolerance(model.dtype)
    # a pass of another shape differs by rounding alone, without any effect of the neighbour
    allowed = max(tolerance, 3 * padding_error)
    exchanged = torch.cat([random_ids(model, n_first, seed=1), document])
    found: Measured = {"rows": (padding_error <= tolerance, padding_error)}
    for packing in ("positions", "mask"):
        try:
            packed = _read_second(model, hookpoints, ids, packing, n_first)
            other = _read_second(model, hookpoints, exchanged, packing, n_first)
        except Exception:  # an architecture that takes no such mask fails in its own way
            found[packing] = (False, float("inf"))
            continue
        leak = _measure_largest(other, packed)
        moved = _measure_largest(packed, alone)
        fits = leak <= get_strict_tolerance(model.dtype) and moved <= allowed
        found[packing] = (fits, max(leak, moved))
    return found


def _read_row(
    model: PreTrainedModel,
    hookpoints: Sequence[Hookpoint],
    ids: Tensor,
    packing: Packing = "positions",
    n_first: int = 0,
) -> list[Tensor]:
    """Read one row, each [n, width]; its second document begins at `n_first`."""
    positions = torch.arange(len(ids))
    positions[n_first:] -= n_first
    row = ids[None].to(model.device)
    found = read(model, hookpoints, row, positions[None].to(model.device), packing=packing)
    return [found[hookpoint][0] for hookpoint in hookpoints]


def _read_second(
    model: PreTrainedModel,
    hookpoints: Sequence[Hookpoint],
    ids: Tensor,
    packing: Packing,
    n_first: int,
) -> list[Tensor]:
    """Read the second document of a row."""
    return [acts[n_first:] for acts in _read_row(model, hookpoints, ids, packing, n_first)]


def _measure_largest(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest error of all hookpoints; infinite if one is NaN."""
    errors = [measure_token_error(a, b) for a, b in zip(found, expected, strict=True)]
    has_nan = any(error != error for error in errors)
    return float("inf") if has_nan else max(errors)


def measure_once(
    load: Callable[[], PreTrainedModel],
    identity: Sequence[str],
    hookpoints: Sequence[Hookpoint],
    seq_len: int,
) -> Measured:
    """Measure every packing and check the hookpoints, or return the result of an earlier run.

    Results are saved in the cache folder, so that a model whose activations are on disk does not
    have to be loaded for this.

    Args:
        load: Returns the model.
        identity: Everything the result depends on except hookpoints and length: weights, dtype,
            device, versions.
        hookpoints: Where activations are going to be read.
        seq_len: Tokens in a row.

    Raises:
        UserError: A hookpoint is not what its name says.
    """
    names = [str(hookpoint) for hookpoint in hookpoints]
    key = hashlib.sha256(json.dumps([*identity, names, seq_len]).encode()).hexdigest()[:16]
    path = cache_dir() / "checks" / f"{key}.json"
    if path.exists():
        saved = json.loads(path.read_text())
        return {packing: (fits, float(error)) for packing, (fits, error) in saved.items()}
    model = load()
    for hookpoint in hookpoints:
        check_site(model, hookpoint)
    found = measure_packings(model, hookpoints, seq_len)
    # JSON has no infinity
    write_json(path, {packing: [fits, min(error, 1e9)] for packing, (fits, error) in found.items()})
    return found


def get_packing(model: PreTrainedModel, hookpoints: Sequence[Hookpoint], seq_len: int) -> Packing:
    """Return the first packing that fits a model in memory; measured once.

    Raises:
        UserError: No packing fits.
    """
    known = _chosen.setdefault(model, {})
    key = (*sorted(hookpoints), seq_len)
    if key not in known:
        name = model.config.name_or_path or model.config.model_type
        known[key] = choose_packing({name: measure_packings(model, hookpoints, seq_len)})
    return known[key]


def choose_packing(measured: Mapping[str, Measured]) -> Packing:
    """Return the first packing that fits all models.

    Args:
        measured: What was measured, by language model.

    Raises:
        UserError: No packing fits all of them, with the errors.
    """
    for packing in get_args(Packing):
        if all(errors[packing][0] for errors in measured.values()):
            return packing
    errors = "; ".join(f"{lm}: {_describe(errors)}" for lm, errors in measured.items())
    raise UserError(
        "documents in one batch change each other's activations in every packing, so the models "
        f"cannot be harvested; relative errors are {errors}"
    )


def _describe(errors: Measured) -> str:
    return ", ".join(f"{errors[packing][1]:.2g} with {packing}" for packing in get_args(Packing))


def get_final_layout(model: PreTrainedModel, positions: Int[Tensor, "batch time"]) -> Layout:
    """Return the layout that isolates documents up to the final hidden states."""
    last = Hookpoint(len(get_layers(model)) - 1, "resid_post")
    return Layout(get_packing(model, [last], positions.shape[1]), positions)


def run_isolated(
    model: PreTrainedModel, ids: Int[Tensor, "batch time"], layout: Layout
) -> Float[Tensor, "batch time d_model"]:
    """Return the final hidden states of packed rows, whose documents do not see each other."""
    return layout.restore(run_decoder(model, layout.arrange(ids), layout.positions, layout.mask))
