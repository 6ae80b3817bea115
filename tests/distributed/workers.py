"""Persistent processes, joined by gloo, that all run the same function.

Starting processes takes longer than the tests that run in them.
"""

import os
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


class Team:
    """A group of `n` processes, as torchrun would start them."""

    def __init__(self, n: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = mp.get_context("spawn")
        pipes = [context.Pipe() for _ in range(n)]
        self.ends = [here for here, _ in pipes]
        self.members = [
            context.Process(target=_member, args=(rank, n, port, there), daemon=True)
            for rank, (_, there) in enumerate(pipes)
        ]
        for member in self.members:
            member.start()

    def run(self, work: Callable[..., None], *args: object) -> None:
        """Run `work(*args)` in each process; a failure of one is raised here."""
        for end in self.ends:
            end.send((work, args))
        failures = [failure for end in self.ends if (failure := end.recv())]
        assert not failures, "\n\n".join(failures)

    def close(self) -> None:
        """End the processes."""
        for end in self.ends:
            end.send(None)
        for member in self.members:
            member.join(20)


def _member(rank: int, n: int, port: int, orders: Connection) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=n, timeout=timedelta(seconds=120))
    while (order := orders.recv()) is not None:
        work, args = order
        try:
            work(*args)
            orders.send("")
        except BaseException:
            orders.send(f"process {rank} of {n}\n{traceback.format_exc()}")
    dist.destroy_process_group()
