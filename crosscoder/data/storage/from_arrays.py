"""A store of activations that are in memory, from any program."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.types import Kind, Tokens
from crosscoder.data.storage.quantization import make_shard
from crosscoder.errors import UserError
from crosscoder.values import require_names

DIFF_PAIR = ("chat", "base")  # compared if there are sources of these names


def convert_arrays(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return arrays as tensors; refuse what is not one row of finite numbers per token.

    Raises:
        UserError: With the name of the source.
    """
    if not arrays:
        raise UserError("a store needs at least one array, by the name of its source")
    tensors = {name: torch.as_tensor(array).detach().cpu() for name, array in arrays.items()}
    for name, acts in tensors.items():
        if acts.ndim != 2 or not acts.is_floating_point() or not acts.numel():
            raise UserError(
                f"source '{name}': expected an array [n_tokens, width] of floating-point numbers, "
                f"found {list(acts.shape)} of {acts.dtype}"
            )
        if not acts.isfinite().all():
            row = int((~acts.isfinite()).any(1).nonzero()[0])
            raise UserError(f"source '{name}': row {row} has NaN or infinity; leave that row out")
    counts = {name: len(acts) for name, acts in tensors.items()}
    dtypes = {str(acts.dtype) for acts in tensors.values()}
    if len(set(counts.values())) > 1 or len(dtypes) > 1:
        found = ", ".join(f"{name} {len(acts)} {acts.dtype}" for name, acts in tensors.items())
        raise UserError(
            "the sources are the same tokens in the same dtype, one row per token; found "
            f"{found}: bring them to the same rows and dtype"
        )
    return tensors


def describe_arrays(
    tensors: Mapping[str, Tensor],
    tokens: Tokens,
    diff_pair: Sequence[str] | None,
    shard_tokens: int,
) -> dict[str, Any]:
    """Return the meta.json of a store of these activations, without checksums."""
    if diff_pair is None and all(name in tensors for name in DIFF_PAIR):
        diff_pair = DIFF_PAIR
    if diff_pair is not None:
        require_names("sources", diff_pair, tensors)
    first = next(iter(tensors.values()))
    entries = {}
    for name, acts in tensors.items():
        entries[name] = {"width": acts.shape[1], "lm": "", "hookpoint": ""}
    digest = hashlib.sha256()
    for name, tensor in {**tokens.tensors(), **tensors}.items():
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    counts = [len(part) for part in first.split(shard_tokens)]
    return {
        "sources": entries,
        "contrast": None if diff_pair is None else list(diff_pair),
        "dtype": str(first.dtype).removeprefix("torch."),
        "seq_len": 1 + int(tokens.position.max()),
        "counts": counts,
        "tokens_sha256": digest.hexdigest(),
    }


def number_tokens(n: int) -> Tokens:
    """Return tokens without text: each is a document of its own, of kind "plain"."""
    zeros = torch.zeros(n, dtype=torch.int64)
    return Tokens(zeros, zeros, torch.arange(n), torch.full((n,), Kind.PLAIN))


def cut_shards(
    tensors: Mapping[str, Tensor], tokens: Tokens, shard_tokens: int
) -> Iterator[tuple[int, str, dict[str, Tensor]]]:
    """Yield number, column and tensors of every shard; those of "tokens" come first."""
    parts = torch.arange(len(tokens)).split(shard_tokens)
    for shard, rows in enumerate(parts):
        yield shard, "tokens", tokens[rows].tensors()
    for name, acts in tensors.items():
        for shard, rows in enumerate(parts):
            yield shard, name, make_shard(acts[rows].contiguous())
