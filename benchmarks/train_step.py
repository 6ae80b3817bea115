"""One training step against a dense crosscoder in plain PyTorch, and against what cannot be avoided.

floor = one encoder GEMM (fp32 or bf16, whichever is faster) + one pass of fused Adam over all parameters

Also against sae-lens and eai-sparsify where they are installed. All take turns in one process, where freed memory stays with it
(crosscoder/memory.py): the others are faster there than on their own.
"""

from collections.abc import Callable

import torch

from benchmarks.dense import DenseCrosscoder, training_step
from benchmarks.inputs import pair
from benchmarks.measure import arguments, milliseconds, report
from benchmarks.rivals import rivals
from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.losses import LossInput, total
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.memory import kept
from crosscoder.model import Crosscoder
from crosscoder.sources import Sources


def ours(sources: Sources, n_latents: int, k: int, acts: torch.Tensor) -> Callable[[], None]:
    """The step that CrosscoderModule and its trainer take, without Lightning; no latent is dead."""
    crosscoder = Crosscoder(sources, n_latents, BatchTopK(k)).to(acts.device)
    optimizer = torch.optim.Adam(crosscoder.parameters(), lr=1e-4, fused=True)
    losses = {"reconstruction": Reconstruction("unsquared"), "auxk": AuxK()}
    dead = torch.zeros(n_latents, dtype=torch.bool, device=acts.device)

    def step() -> None:
        x = crosscoder.normalise(acts)
        loss, _ = total(losses, LossInput(x, crosscoder(x), crosscoder, dead, 0.5, torch.mean))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(crosscoder.parameters(), 1.0)
        optimizer.step()

    return step


def dense(d_total: int, n_latents: int, k: int, acts: torch.Tensor) -> Callable[[], None]:
    """What people write."""
    model = DenseCrosscoder(d_total, n_latents, k).to(acts.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=True)
    return lambda: training_step(model, optimizer, acts)


def unavoidable(d_total: int, n_latents: int, acts: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The floor's parts, and gradient clipping, which is listed apart."""
    low, W = acts.bfloat16(), torch.randn(n_latents, d_total, device=acts.device) / d_total**0.5
    W_low = W.bfloat16()
    shapes = [(n_latents, d_total), (n_latents, d_total), (n_latents,), (d_total,)]
    parameters = [torch.nn.Parameter(torch.zeros(shape, device=acts.device)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)
    return {
        "gemm_fp32": lambda: acts @ W.T,
        "gemm_bf16": lambda: low @ W_low.T,
        "adam": optimizer.step,
        "clip": lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0),
    }


def row(n_latents: int, width: int, k: int, batch: int, rounds: int, device: str) -> dict[str, float]:
    """All contestants at one size."""
    sources = pair(width)
    acts = torch.randn(batch, sources.d_total, device=device)
    contestants = {
        "ours": ours(sources, n_latents, k, acts),
        "dense": dense(sources.d_total, n_latents, k, acts),
        **unavoidable(sources.d_total, n_latents, acts),
        **(others := rivals(n_latents, k, acts)),
    }
    ms = milliseconds(contestants, rounds, device)
    floor = min(ms["gemm_fp32"], ms["gemm_bf16"]) + ms["adam"]
    return {
        "n_latents": n_latents,
        "ours_ms": ms["ours"],
        "dense_ms": ms["dense"],
        "floor_ms": floor,
        "dense_over_ours": ms["dense"] / ms["ours"],
        "ours_over_floor": ms["ours"] / floor,
        **{f"{name}_over_ours": ms[name] / ms["ours"] for name in others},
        "clip_ms": ms["clip"],
        "tokens_per_second": 1000 * batch / ms["ours"],
    }


def main() -> None:
    """Measure and report."""
    given = arguments(
        str(__doc__),
        n_latents={"type": int, "nargs": "+", "default": [8192, 16384, 32768], "help": "sizes of the dictionary"},
        width={"type": int, "default": 640, "help": "of each of two sources"},
        k={"type": int, "default": 32, "help": "active latents per token"},
        batch={"type": int, "default": 2048, "help": "tokens"},
        rounds={"type": int, "default": 3, "help": "turns of each contestant"},
    )
    torch.manual_seed(1)  # not the weights' seed
    with kept():
        rows = [row(n, given.width, given.k, given.batch, given.rounds, given.device) for n in given.n_latents]
    report(
        f"One training step, d = {given.width} x 2, k = {given.k}, batch {given.batch:,}",
        rows,
        given.json,
        given.device,
    )


if __name__ == "__main__":
    main()
