"""Steps of other trainers, from PyPI: each trains its own dictionary, as its own trainer does, on the same activations.

A library that is not installed is left out (`pip install -e ".[bench]"`).
"""

import contextlib
import importlib.util
import io
import os
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[], object]


def rivals(n_latents: int, k: int, acts: Tensor) -> dict[str, Step]:
    """name → one training step."""
    known = {"sparsify": ("sparsify", sparsify), "sae_lens": ("sae_lens", sae_lens)}
    return {
        name: step(n_latents, k, acts) for name, (module, step) in known.items() if importlib.util.find_spec(module)
    }


def sparsify(n_latents: int, k: int, acts: Tensor) -> Step:
    """A TopK SAE of eai-sparsify: what its `Trainer` does per step with `optimizer="adam"`."""
    if acts.device.type == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # it would take the GPU's kernels wherever triton is installed
    with contextlib.redirect_stdout(io.StringIO()):
        from sparsify import SparseCoder, SparseCoderConfig
    sae = SparseCoder(acts.shape[1], SparseCoderConfig(num_latents=n_latents, k=k), device=acts.device)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4)
    fired = torch.zeros(n_latents, dtype=torch.bool, device=acts.device)

    def step() -> None:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(acts, acts, total_variance=(acts - acts.mean(0)).pow(2).sum())
        fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    return step


def sae_lens(n_latents: int, k: int, acts: Tensor) -> Step:
    """A BatchTopK SAE of SAELens: its trainer's own step."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    batch, d_in = acts.shape
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d_in, d_sae=n_latents, k=k, device=str(acts.device)))
    config = SAETrainerConfig(1_000_000 * batch, batch, lr=1e-4, lr_end=1e-4, device=str(acts.device))
    trainer = SAETrainer(config, sae, data_provider=iter(()))
    return lambda: trainer.step(acts)
