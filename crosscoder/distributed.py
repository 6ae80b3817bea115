"""Processes that train one crosscoder together, started by torchrun or SLURM.

Lightning Fabric joins them. They divide the work in one of two ways (`Parallel`): either each
process has some of a batch's tokens and all latents (data parallel), or all tokens and some of the
latents, for dictionaries that do not fit one device. A single process has everything, and nothing
here waits.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from crosscoder.errors import UserError

# --- start and end ---


def launched_processes() -> tuple[int, int]:
    """Return how many processes torchrun or SLURM started: (in all, on this node).

    It is (1, 1) for a process that was started alone.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    # srun sets these; an sbatch script alone has other variables of its job
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        n = int(os.environ["SLURM_STEP_NUM_TASKS"])
        n_nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        return n, n // n_nodes
    return 1, 1


@contextmanager
def init_distributed(
    accelerator: str = "auto", timeout: timedelta = timedelta(hours=12)
) -> Iterator[None]:
    """Connect the processes that were started together, until the context ends.

    Args:
        accelerator: As for Lightning: "cpu", "cuda", "auto".
        timeout: Longest wait of one process for another, e.g. while the other still harvests.
    """
    n, n_local = launched_processes()
    if n == 1:
        yield
        return
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    Fabric(
        accelerator=accelerator,
        devices=n_local,
        num_nodes=n // n_local,
        strategy=DDPStrategy(timeout=timeout),
    ).launch()
    try:
        yield
    finally:
        shutdown()


def shutdown() -> None:
    """Destroy the process group: from here on each process works alone."""
    if dist.is_initialized():
        dist.destroy_process_group()


# --- operations over all processes ---


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast_object(value: Any) -> Any:
    """Return the first process's value; plain Python objects."""
    if size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0, device=_device())
    return holder[0]


def any_rank(*flags: bool) -> list[bool]:
    """Return for each flag whether it is true in any process."""
    if size() == 1:
        return list(flags)
    own = torch.tensor(flags, dtype=torch.uint8, device=_device())
    return all_reduce_max(own).bool().tolist()


def all_reduce_min(x: Tensor) -> Tensor:
    """Return the elementwise minimum over all processes."""
    return x if size() == 1 else _all_reduce(x, dist.ReduceOp.MIN)


def all_reduce_max(x: Tensor) -> Tensor:
    """Return the elementwise maximum over all processes."""
    return x if size() == 1 else _all_reduce(x, dist.ReduceOp.MAX)


def all_gather(x: Tensor) -> list[Tensor]:
    """Return the one-dimensional tensors of all processes by rank; their lengths may differ."""
    if size() == 1:
        return [x]
    lengths = [x.new_zeros(1, dtype=torch.int64) for _ in range(size())]
    dist.all_gather(lengths, lengths[0].new_tensor([len(x)]))
    longest = max(int(length) for length in lengths)
    padded = torch.cat([x, x.new_zeros(longest - len(x))])
    gathered = [x.new_empty(longest) for _ in range(size())]
    dist.all_gather(gathered, padded)
    return [own[: int(length)] for own, length in zip(gathered, lengths, strict=True)]


# --- operations that depend on how a training step is divided ---


@dataclass(frozen=True)
class Parallel:
    """Division of a training step among the processes of a run.

    A `Crosscoder` carries it to everything that computes on a batch.

    Args:
        axis: "tokens": each process has some of a batch's tokens and all latents; "latents": all
            tokens and some of the latents.
    """

    axis: Literal["tokens", "latents"] = "tokens"

    def __post_init__(self) -> None:
        if self.axis not in ("tokens", "latents"):
            raise UserError(f"parallel is tokens or latents, not {self.axis!r}")

    @property
    def token_shard(self) -> tuple[int, int]:
        """Return (number of this process's shard of the tokens, how many shards there are)."""
        return (rank(), size()) if self.axis == "tokens" else (0, 1)

    @property
    def latent_shard(self) -> tuple[int, int]:
        """Return (number of this process's shard of the latents, how many shards there are)."""
        return (rank(), size()) if self.axis == "latents" else (0, 1)

    @property
    def n_token_shards(self) -> int:
        """Return into how many shards a batch's tokens are divided."""
        return self.token_shard[1]

    @property
    def n_latent_shards(self) -> int:
        """Return into how many shards the latents are divided."""
        return self.latent_shard[1]

    def count_tokens(self, n_local: int) -> int:
        """Return the tokens of a batch of which each process has `n_local`."""
        return n_local * self.n_token_shards

    def batch_mean(self, x: Tensor, *dim: int) -> Tensor:
        """Return `torch.mean` over the tokens of all processes, which have equally many each.

        The value is that of all tokens, the gradient that of this process's tokens. Averaged over
        processes, as DDP does, it is the gradient of the whole, also through functions of several
        means.
        """
        own = x.mean(*dim)
        if self.n_token_shards == 1:
            return own
        return own + (_all_reduce(own.detach()) / size() - own.detach())

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """Return the sum of what processes computed from their latents; each gets its gradient."""
        return x if self.n_latent_shards == 1 else _Sum.apply(x)  # type: ignore[return-value]

    def gather_batch(self, acts: Tensor) -> Tensor:
        """Return the tokens of this process's step, [batch, d_total].

        Where latents are sharded, every process works on what all have read.
        """
        if self.n_latent_shards == 1:
            return acts
        gathered = [torch.empty_like(acts) for _ in range(size())]
        # as bytes, because not every backend sends bfloat16
        dist.all_gather(
            [own.view(torch.uint8) for own in gathered], acts.contiguous().view(torch.uint8)
        )
        return torch.cat(gathered)

    def union_over_ranks(self, flags: Tensor) -> Tensor:
        """Return [n_latents] bool: latents that are flagged in any process.

        Each process flags all latents by its tokens, or its own latents by all tokens.
        """
        byte = flags.byte()
        if self.n_latent_shards > 1:
            return torch.cat(all_gather(byte)).bool()
        return all_reduce_max(byte).bool()

    def local_latents(self, x: Tensor) -> Tensor:
        """Return this process's latents of values for all latents [n_latents]."""
        shard, n_shards = self.latent_shard
        return x.chunk(n_shards)[shard]

    def sum_over_latent_shards(self, n: int) -> int:
        """Return the sum of the counts that processes made of their own latents."""
        if self.n_latent_shards == 1:
            return n
        return int(_all_reduce(torch.tensor(n, device=_device())))

    def gather_latents(self, x: Tensor) -> Tensor:
        """Return [batch, m] of each process's latents side by side, [batch, Σm]."""
        if self.n_latent_shards == 1:
            return x
        gathered = all_gather(x.flatten())
        return torch.cat([own.view(len(x), -1) for own in gathered], dim=1)


BY_TOKENS = Parallel()
"""Default division: by tokens. A single process has all of them."""


def _all_reduce(x: Tensor, operation: Any = dist.ReduceOp.SUM) -> Tensor:
    result = x.clone().contiguous()
    dist.all_reduce(result, operation)
    return result


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


class _Sum(torch.autograd.Function):
    """All-reduce whose result every process uses alike: each gets the result's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce(x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        return gradient[0]
