from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from crosscoder.losses import LossContext, Requirements, total
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction


@dataclass(frozen=True)
class Norm:
    """A loss term outside of the package."""

    requirements: ClassVar[Requirements] = Requirements()
    weight: float

    def __call__(self, ctx: LossContext) -> torch.Tensor:
        return ctx.crosscoder.b_dec.square().sum()


def test_the_loss_is_the_sum_of_the_weighted_parts_that_are_logged(make_ctx):
    terms = {
        "reconstruction": Reconstruction(weight=2.0),
        "l1": L1(weight=0.5),
        "auxk": AuxK(weight=3.0),
    }
    ctx = make_ctx(dead=[1, 2])
    loss, parts = total(terms, ctx)
    assert loss.item() == pytest.approx(
        sum(term.weight * term(ctx).item() for term in terms.values())
    )
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()))
    assert list(parts) == list(terms)


def test_the_gradient_of_the_loss_is_that_of_its_weighted_parts(make_ctx, crosscoder):
    total({"norm": Norm(weight=3.0)}, make_ctx())[0].backward()
    torch.testing.assert_close(crosscoder.b_dec.grad, 6 * crosscoder.b_dec.detach())
