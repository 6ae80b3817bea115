"""One training step, compared with a dense crosscoder in plain PyTorch and with a floor.

floor = one encoder GEMM (fp32 or bf16, whichever is faster) + one pass of fused Adam over all
parameters

Also against eai-sparsify and sae-lens where they are installed (pip install -e ".[bench]"). All
take turns, each in its own process and as its own trainer does it: ours, and the floor, keep freed
memory and have large pages (crosscoder/runtime/memory.py), the others do not, unless
--keep-for-all. No latent is dead.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import rivals
from benchmarks.dense import DenseCrosscoder, training_step
from benchmarks.inputs import pair
from benchmarks.measure import Contestant, Step, arguments, milliseconds, report
from crosscoder.core import kernels
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.model import Crosscoder
from crosscoder.losses import LossContext, total
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training.clipping import can_clip, clip_norm


@dataclass(frozen=True)
class Size:
    """Sizes of a step."""

    n_latents: int
    width: int
    k: int
    batch: int
    device: str

    def acts(self) -> torch.Tensor:
        """Draw a batch [batch, 2 · width]."""
        return torch.randn(
            self.batch, 2 * self.width, generator=torch.Generator().manual_seed(1)
        ).to(self.device)


def ours(size: Size) -> dict[str, Step]:
    """Make the step of CrosscoderModule and its trainer, without Lightning."""
    return {"ours": make_step(size)}


def ours_in_torch(size: Size) -> dict[str, Step]:
    """Make the same step without the kernels in C++ (CROSSCODER_KERNELS=embedding)."""
    os.environ[kernels.VARIABLE] = "embedding"  # this process makes no other step
    return {"ours_in_torch": make_step(size)}


def compiled(size: Size) -> dict[str, Step]:
    """Make the same step with `torch.compile`; on a CPU it is traced, but nothing is generated."""
    backend = "eager" if size.device == "cpu" else "inductor"
    return {"compiled": make_step(size, partial(torch.compile, backend=backend))}


def make_step(size: Size, wrap: Callable[[Callable], Callable] = lambda function: function) -> Step:
    """Make our step; `wrap` gets the function that computes the loss."""
    crosscoder = Crosscoder(pair(size.width), size.n_latents, BatchTopK(size.k)).to(size.device)
    optimizer = torch.optim.Adam(crosscoder.parameters(), lr=1e-4, fused=True)
    losses = {"reconstruction": Reconstruction("unsquared"), "auxk": AuxK()}
    acts, dead = size.acts(), torch.zeros(size.n_latents, dtype=torch.bool, device=size.device)

    def compute_loss() -> torch.Tensor:
        x = crosscoder.normalise(acts)
        loss, _ = total(losses, LossContext(x, crosscoder(x), crosscoder, dead, 0.5, torch.mean))
        return loss

    wrapped = wrap(compute_loss)

    def step() -> None:
        wrapped().backward()
        clip(list(crosscoder.parameters()))
        optimizer.step()
        optimizer.zero_grad()

    return step


def unavoidable(size: Size) -> dict[str, Step]:
    """Make the steps of the floor, and gradient clipping, which is listed separately."""
    acts, d_total = size.acts(), 2 * size.width
    W = torch.randn(size.n_latents, d_total, device=size.device) / d_total**0.5
    low, W_low = acts.bfloat16(), W.bfloat16()
    shapes = [(size.n_latents, d_total), (size.n_latents, d_total), (size.n_latents,), (d_total,)]
    parameters = [torch.nn.Parameter(torch.zeros(shape, device=size.device)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)
    return {
        "gemm_fp32": lambda: acts @ W.T,
        "gemm_bf16": lambda: low @ W_low.T,
        "adam": optimizer.step,
        "clip": lambda: clip(parameters),
    }


def clip(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Clip gradients as CrosscoderModule does."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if can_clip(gradients):
        clip_norm(gradients, 1.0)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)


def dense(size: Size) -> dict[str, Step]:
    """Make the step of the dense crosscoder."""
    acts = size.acts()
    with torch.device(size.device):  # random numbers for large weights take long on a CPU
        model = DenseCrosscoder(2 * size.width, size.n_latents, size.k)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=True)
    return {"dense": lambda: training_step(model, optimizer, acts)}


def row(size: Size, turns: int, steps: int, keep_for_all: bool) -> dict[str, float]:
    """All contestants at one size."""
    others = [dense, *rivals.installed()]
    own = (ours, ours_in_torch, unavoidable)
    contestants = [Contestant(build, (size,), keep=True) for build in own]
    contestants += [Contestant(build, (size,), keep=keep_for_all) for build in others]
    ms = milliseconds(contestants, turns, steps)
    floor = min(ms["gemm_fp32"], ms["gemm_bf16"]) + ms["adam"]
    return {
        "n_latents": size.n_latents,
        "ours_ms": ms["ours"],
        "dense_ms": ms["dense"],
        "floor_ms": floor,
        "ours_over_floor": ms["ours"] / floor,
        "ours_in_torch_over_ours": ms["ours_in_torch"] / ms["ours"],
        **{f"{other.__name__}_over_ours": ms[other.__name__] / ms["ours"] for other in others},
        "gemm_ms": floor - ms["adam"],
        "adam_ms": ms["adam"],
        "clip_ms": ms["clip"],
        "tokens_per_second": 1000 * size.batch / ms["ours"],
    }


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        n_latents={
            "type": int,
            "nargs": "+",
            "default": [8192, 16384, 32768],
            "help": "sizes of the dictionary",
        },
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "active latents per token"},
        batch={"type": int, "default": 2048, "help": "tokens"},
        turns={"type": int, "default": 2, "help": "of each contestant"},
        steps={"type": int, "default": 3, "help": "of a turn that count"},
        keep_for_all={
            "action": "store_true",
            "help": "the others keep freed memory and have large pages, too",
        },
    )
    sizes = [Size(n, args.width, args.k, args.batch, args.device) for n in args.n_latents]
    rows = [row(size, args.turns, args.steps, args.keep_for_all) for size in sizes]
    title = f"One training step, d = {args.width} x 2, k = {args.k}, batch {args.batch:,}"
    report(title, rows, args.json, args.device)


if __name__ == "__main__":
    main()
