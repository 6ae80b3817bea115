"""Steps of other trainers from PyPI, each on its own dictionary and the same activations."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import Step


def installed() -> list[Callable[..., dict[str, Step]]]:
    """Those that are (`pip install -e ".[bench]"`)."""
    return [rival for rival in (sparsify, sae_lens) if importlib.util.find_spec(rival.__name__)]


def sparsify(size: Any) -> dict[str, Step]:
    """Make a step of eai-sparsify's `Trainer` with a TopK SAE and `optimizer="adam"`."""
    if size.device == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = (
            "1"  # it would take the GPU's kernels wherever triton is installed
        )
    with contextlib.redirect_stdout(io.StringIO()):
        from sparsify import SparseCoder, SparseCoderConfig
    acts = size.acts()
    config = SparseCoderConfig(num_latents=size.n_latents, k=size.k)
    sae = SparseCoder(acts.shape[1], config, device=acts.device)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4)
    fired = torch.zeros(size.n_latents, dtype=torch.bool, device=acts.device)

    def step() -> None:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(acts, acts, total_variance=(acts - acts.mean(0)).pow(2).sum())
        fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    return {"sparsify": step}


def sae_lens(size: Any) -> dict[str, Step]:
    """Make a step of SAELens's trainer with a BatchTopK SAE."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    acts = size.acts()
    config = BatchTopKTrainingSAEConfig(
        d_in=acts.shape[1], d_sae=size.n_latents, k=size.k, device=size.device
    )
    training = SAETrainerConfig(
        1_000_000 * size.batch, size.batch, lr=1e-4, lr_end=1e-4, device=size.device
    )
    trainer = SAETrainer(training, BatchTopKTrainingSAE(config), data_provider=iter(()))
    return {"sae_lens": lambda: trainer.step(acts)}
