"""The processes that work on one run together: started by torchrun or SLURM, joined through Lightning Fabric.

They share the work in one of two ways. Either each has some of a batch's tokens and all latents (data parallel), or all tokens
and some of the latents, for dictionaries that do not fit one device. A process alone has everything, and nothing here waits.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

_shared: Literal["tokens", "latents"] = "tokens"


def started() -> tuple[int, int]:
    """(processes in all, of them on this node), by what torchrun or SLURM says; (1, 1) for a process alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in os.environ:  # srun's own: a job's other variables are there in an sbatch script, too
        n = int(os.environ["SLURM_STEP_NUM_TASKS"])
        return n, n // int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    return 1, 1


@contextmanager
def joined(accelerator: str = "auto", patience: timedelta = timedelta(hours=12)) -> Iterator[None]:
    """While open, the processes started together can talk to each other.

    `patience` is how long one waits for another, e.g. while that one still harvests.
    """
    n, here = started()
    if n == 1:
        yield
        return
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    Fabric(accelerator=accelerator, devices=here, num_nodes=n // here, strategy=DDPStrategy(timeout=patience)).launch()
    try:
        yield
    finally:
        part()


def part() -> None:
    """From here on each works alone."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def sharing(what: Literal["tokens", "latents"]) -> Iterator[None]:
    """While open, a batch's tokens are shared out (as otherwise, too), or the latents are."""
    global _shared
    before, _shared = _shared, what
    try:
        yield
    finally:
        _shared = before


def size() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which one this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def of_tokens() -> tuple[int, int]:
    """(which, of how many) parts of every batch's tokens this process has."""
    return (rank(), size()) if _shared == "tokens" else (0, 1)


def of_latents() -> tuple[int, int]:
    """(which, of how many) parts of the latents this process has."""
    return (rank(), size()) if _shared == "latents" else (0, 1)


def n_tokens(here: int) -> int:
    """Of a batch of which each process has as many as this one."""
    return here * of_tokens()[1]


def agreed(value: Any) -> Any:
    """What the first process has; plain Python objects."""
    if size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0, device=_device())
    return holder[0]


def any_has(*what: bool) -> list[bool]:
    """Of each of these, whether it is true in any process."""
    return (
        list(what) if size() == 1 else largest(torch.tensor(what, dtype=torch.uint8, device=_device())).bool().tolist()
    )


def mean(x: Tensor, *dim: int) -> Tensor:
    """As `torch.mean`, over the tokens of all processes, each of which has equally many.

    The value is that of all, the gradient that of this process's tokens: averaged over processes, as DDP does, it is the
    gradient of the whole, also through functions of several means.
    """
    own = x.mean(*dim)
    return own if of_tokens()[1] == 1 else own + (_reduced(own.detach()) / size() - own.detach())


def summed(x: Tensor) -> Tensor:
    """The sum over the latents of all processes of what each has from its own; its gradient goes to each."""
    return x if of_latents()[1] == 1 else _Sum.apply(x)  # type: ignore[return-value]


def smallest(x: Tensor) -> Tensor:
    """Elementwise, over all processes."""
    return x if size() == 1 else _reduced(x, dist.ReduceOp.MIN)


def largest(x: Tensor) -> Tensor:
    """Elementwise, over all processes."""
    return x if size() == 1 else _reduced(x, dist.ReduceOp.MAX)


def gathered(x: Tensor) -> list[Tensor]:
    """The one-dimensional tensors of all processes, which may differ in length, by rank."""
    if size() == 1:
        return [x]
    lengths = [x.new_zeros(1, dtype=torch.int64) for _ in range(size())]
    dist.all_gather(lengths, lengths[0].new_tensor([len(x)]))
    longest = max(int(length) for length in lengths)
    parts = [x.new_empty(longest) for _ in range(size())]
    dist.all_gather(parts, torch.cat([x, x.new_zeros(longest - len(x))]))
    return [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]


def whole_batch(acts: Tensor) -> Tensor:
    """The tokens that a step of this process works on, [batch, d_total], from those that each process has read of it."""
    if of_latents()[1] == 1:
        return acts
    parts = [torch.empty_like(acts) for _ in range(size())]
    dist.all_gather([part.view(torch.uint8) for part in parts], acts.contiguous().view(torch.uint8))
    return torch.cat(parts)


def union(flags: Tensor) -> Tensor:
    """[n_latents] bool, from what each has seen of its tokens, or of its latents: which latents have it anywhere."""
    byte = flags.byte()
    return (torch.cat(gathered(byte)) if of_latents()[1] > 1 else largest(byte)).bool()


def own_latents(x: Tensor) -> Tensor:
    """Of what is known of all latents [n_latents], the part of this process."""
    which, of = of_latents()
    return x.chunk(of)[which]


def total(n: int) -> int:
    """The sum over processes that share out the latents of what each counts of its own."""
    return n if of_latents()[1] == 1 else int(_reduced(torch.tensor(n, device=_device())))


def columns(x: Tensor) -> Tensor:
    """[batch, m] of each process's latents side by side, [batch, Σm]."""
    return x if of_latents()[1] == 1 else torch.cat([part.view(len(x), -1) for part in gathered(x.flatten())], dim=1)


def _reduced(x: Tensor, how: Any = dist.ReduceOp.SUM) -> Tensor:
    whole = x.clone().contiguous()
    dist.all_reduce(whole, how)
    return whole


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


class _Sum(torch.autograd.Function):
    """All-reduce, whose result every process uses in the same way: so each gets the result's whole gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        return gradient[0]
