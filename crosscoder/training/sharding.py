"""Shards of a dictionary that does not fit one device: each process has some latents, all tokens.

    pre = W_enc[own] x + b_enc[own]        x̂ = Σ_processes W_dec[own] f[own] + b_dec

A latent is a row of every weight except b_dec, so weights, gradients and Adam's moments are all
sharded by rows, as DTensors, which Lightning's ModelParallelStrategy saves whole. Per step the
reconstruction is summed over processes (also the one of aux-k), and the scores that selection
compares are gathered; nothing else is sent.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from crosscoder import distributed
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError


def shard_weights(crosscoder: Crosscoder, mesh: DeviceMesh) -> None:
    """Replace the weights by this process's rows of them."""
    if crosscoder.n_latents % mesh.size():
        raise UserError(
            f"n_latents={crosscoder.n_latents:,} cannot be split evenly over "
            f"{mesh.size()} processes"
        )
    for name, weight in list(crosscoder.named_parameters(recurse=False)):
        placement = Replicate() if name == "b_dec" else Shard(0)
        sharded = distribute_tensor(weight.data, mesh, [placement])
        setattr(crosscoder, name, nn.Parameter(sharded))


def take_local_rows(crosscoder: Crosscoder) -> Crosscoder:
    """Return a crosscoder of this process's latents that shares its gradients with the whole one.

    Without sharding it is the crosscoder itself.
    """
    if not isinstance(crosscoder.W_enc, DTensor):
        return crosscoder
    local = copy.copy(crosscoder)
    rows = {}
    for name, weight in crosscoder.named_parameters(recurse=False):
        rows[name] = get_local_rows(weight)
    # views with gradients in the place of nn.Parameters
    local._parameters = rows  # type: ignore[assignment]
    return local


def get_local_rows(weight: Tensor) -> Tensor:
    """Return this process's rows of a weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


@torch.no_grad()
def gather_weights(crosscoder: Crosscoder) -> None:
    """Put the whole weights on the CPU of the first process. The others keep nothing."""
    if not isinstance(crosscoder.W_enc, DTensor):
        return
    for name, weight in list(crosscoder.named_parameters(recurse=False)):
        whole = cast(DTensor, weight).full_tensor()
        kept = whole.cpu() if distributed.rank() == 0 else whole.new_empty(0)
        setattr(crosscoder, name, nn.Parameter(kept))
        del whole, kept
    crosscoder.cpu()
