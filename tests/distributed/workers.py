"""Runs a function in several processes at once, joined by gloo, as torchrun would start them."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def together(n: int, work: Callable[..., None], *args: object) -> None:
    """`work(*args)` in each of `n` processes; what one raises is raised here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_run, (n, port, work, args), nprocs=n, start_method="spawn")


def _run(rank: int, n: int, port: int, work: Callable[..., None], args: tuple) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=n, timeout=timedelta(seconds=60))
    try:
        work(*args)
    finally:
        dist.destroy_process_group()
