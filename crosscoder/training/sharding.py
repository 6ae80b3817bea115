"""Dictionaries that do not fit one device: every process has some of the latents' rows, and all tokens.

    pre = W_enc[own] x + b_enc[own]        x̂ = Σ_processes W_dec[own] f[own] + b_dec

A latent is a row of every weight but b_dec, so weights, gradients and Adam's moments are cut alike, as DTensors, which
Lightning's ModelParallelStrategy saves whole. Per step the reconstruction is summed over processes (and so is what aux-k
explains), and the scores that selection compares are gathered; nothing else is sent.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from crosscoder import processes
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder


def shard(crosscoder: Crosscoder, mesh: DeviceMesh) -> None:
    """Leave this process its rows of the weights."""
    if crosscoder.n_latents % mesh.size():
        raise UserError(f"n_latents={crosscoder.n_latents:,} cannot be shared out evenly to {mesh.size()} processes")
    for name, weight in list(crosscoder.named_parameters(recurse=False)):
        cut = Replicate() if name == "b_dec" else Shard(0)
        setattr(crosscoder, name, nn.Parameter(distribute_tensor(weight.data, mesh, [cut])))


def own_rows(crosscoder: Crosscoder) -> Crosscoder:
    """A crosscoder of this process's latents, whose gradients are the whole one's; itself where nothing is shared out."""
    if not isinstance(crosscoder.W_enc, DTensor):
        return crosscoder
    own = copy.copy(crosscoder)
    own._parameters = {name: rows(weight) for name, weight in crosscoder.named_parameters(recurse=False)}  # type: ignore
    return own


def rows(weight: Tensor) -> Tensor:
    """What this process has of a weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


@torch.no_grad()
def gather(crosscoder: Crosscoder) -> None:
    """Put the weights together again: on the first process's CPU; the others keep nothing."""
    if not isinstance(crosscoder.W_enc, DTensor):
        return
    for name, weight in list(crosscoder.named_parameters(recurse=False)):
        whole = cast(DTensor, weight).full_tensor()
        setattr(crosscoder, name, nn.Parameter(whole.cpu() if processes.rank() == 0 else whole.new_empty(0)))
        del whole
    crosscoder.cpu()
