"""Compare loaded crosscoders with formulas in float64."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.model import Crosscoder

d, F = 8, 32


class Draw:
    """Draws different normal numbers in every call."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, std: float = 1.0) -> Tensor:
        return std * torch.randn(shape, generator=self.generator)


def to_double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in tensors.items()}


def step_above(score: Tensor, threshold: Tensor | float) -> Tensor:
    """Return 1 where a score is above its threshold, else 0; none is close to it."""
    assert (score - threshold).abs().min() > 1e-4
    return (score > threshold).double()


def select_largest(score: Tensor, k: int) -> Tensor:
    """Return 1 at the k largest of each row, else 0; the next one is not close."""
    values = score.sort(dim=1, descending=True).values
    assert (values[:, k - 1] - values[:, k]).min() > 1e-4
    return (score >= values[:, k - 1 : k]).double()


def assert_tensors_close(got: Tensor, wanted: Tensor) -> None:
    """Check equality to 1e-5 of each number or of the largest."""
    torch.testing.assert_close(
        got.detach().double(), wanted.double(), rtol=1e-5, atol=1e-5 * float(wanted.abs().max())
    )


def assert_agrees(crosscoder: Crosscoder, x: Tensor, f: Tensor, recon: Tensor) -> None:
    """Check code [n, n_latents] and reconstruction of raw activations x."""
    assert 0.02 < (f > 0).double().mean() < 0.8
    code = crosscoder.encode(x.flatten(1))
    assert_tensors_close(code.to_dense(), f)
    assert_tensors_close(crosscoder.decode(code), recon.flatten(1))


def assert_provenance(crosscoder: Crosscoder, folder: Path, layout: str, **expected: Any) -> None:
    """Check the provenance of a local folder; `expected` has hookpoint, norm, bos_excluded."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    provenance = crosscoder.provenance
    assert (provenance["layout"], provenance["repo"], provenance["revision"]) == (
        layout,
        None,
        None,
    )
    assert provenance["sha256"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert provenance["sources"] == list(crosscoder.sources.names) == list(expected["hookpoint"])
    assert [source.hookpoint for source in crosscoder.sources] == list(
        expected["hookpoint"].values()
    )
    assert {name: provenance[name] for name in expected} == expected
    assert not crosscoder.training
