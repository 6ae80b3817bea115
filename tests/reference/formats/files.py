"""Files as others write them, and what is read from them beside formulas in float64."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.model import Crosscoder

d, F = 8, 32


class Draw:
    """Normal numbers, other ones in every call."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, std: float = 1.0) -> Tensor:
        return std * torch.randn(shape, generator=self.generator)


def double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in tensors.items()}


def above(score: Tensor, threshold: Tensor | float) -> Tensor:
    """1 where a score is above its threshold, 0 elsewhere; none is so close that rounding decides."""
    assert (score - threshold).abs().min() > 1e-4
    return (score > threshold).double()


def largest(score: Tensor, k: int) -> Tensor:
    """1 at the k largest of each row, 0 elsewhere; the next one is not so close that rounding decides."""
    values = score.sort(dim=1, descending=True).values
    assert (values[:, k - 1] - values[:, k]).min() > 1e-4
    return (score >= values[:, k - 1 : k]).double()


def close(got: Tensor, wanted: Tensor) -> None:
    """Equal to 1e-5, of each number or of the largest."""
    torch.testing.assert_close(got.detach().double(), wanted.double(), rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def agrees(crosscoder: Crosscoder, x: Tensor, f: Tensor, recon: Tensor) -> None:
    """What a loaded crosscoder makes of raw activations x is this code [n, n_latents] and reconstruction."""
    assert 0.02 < (f > 0).double().mean() < 0.8
    code = crosscoder.encode(x.flatten(1))
    close(code.to_dense(), f)
    close(crosscoder.decode(code), recon.flatten(1))


def tells(crosscoder: Crosscoder, folder: Path, layout: str, **said: Any) -> None:
    """Where a crosscoder from a local folder says it comes from; `said` is of hookpoint, norm, bos_excluded."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    given = crosscoder.provenance
    assert (given["layout"], given["repo"], given["revision"]) == (layout, None, None)
    assert given["sha256"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert given["sources"] == list(crosscoder.sources.names) == list(said["hookpoint"])
    assert [source.hookpoint for source in crosscoder.sources] == list(said["hookpoint"].values())
    assert {name: given[name] for name in said} == said
    assert not crosscoder.training
