"""Auxiliary loss that revives dead latents: they are asked to explain what the others left. Gao et al. 2024, App. A.2.

e = x − x̂ (detached),   ê = the k_aux dead latents with the largest v on each token, decoded without bias
L = E‖e − ê‖² / E‖e − ē‖²          as the released BatchTopK crosscoder has it (Minder et al. 2025)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder import processes
from crosscoder.losses.base import LossInput
from crosscoder.sparse import product


@dataclass(frozen=True)
class AuxK:
    """See the module's docstring.

    k_aux is half a source's width (Gao et al. App. B.1 with d the model's width, not the concatenation's).
    """

    shares_latents: ClassVar[bool] = True
    weight: float = 1 / 32

    def __call__(self, given: LossInput) -> Tensor:
        dead = given.dead.nonzero()[:, 0]
        if (n_dead := processes.total(len(dead))) == 0:
            return given.acts.new_zeros(())
        crosscoder = given.crosscoder
        error = (given.acts - given.output.recon).detach()
        pre = given.output.pre(dead).relu()
        k_aux = min(max(crosscoder.sources.widths) // 2, n_dead)
        if k_aux < n_dead:
            v = (pre * crosscoder.selection_scale[dead]).detach()
            best = processes.columns(v.topk(min(k_aux, len(dead)), dim=-1).values)
            pre = pre * (v >= best.topk(k_aux, dim=-1).values[:, -1:])
        explained = processes.summed(product(pre, crosscoder.W_dec.index_select(0, dead), crosscoder.product_dtype))
        unexplained = given.mean((error - explained).square().sum(-1))
        return unexplained / given.mean((error - given.mean(error, 0)).square().sum(-1))
