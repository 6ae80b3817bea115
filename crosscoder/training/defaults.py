"""Default settings of a recipe, the same as in conf/train.yaml."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from crosscoder.core.activations import Activation
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.init import TransposedDecoder
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training.schedules import WarmupDecay


def default_activation() -> Activation:
    """Return the activation of `activation=batch_topk`, with 32 active latents per token."""
    return BatchTopK(32, start=2.0, anneal=0.3)


def default_init() -> Callable:
    """Return the initialiser of `init`."""
    return TransposedDecoder(decoder_norm=0.5)


def default_losses() -> dict[str, Any]:
    """Return the terms of `loss=[unsquared,auxk]` by name."""
    return {"reconstruction": Reconstruction("unsquared"), "auxk": AuxK(weight=1.0)}


def default_optimizer() -> Callable:
    """Return the optimizer of `optimizer=adam`."""
    return partial(torch.optim.Adam, lr=2e-3, betas=(0.9, 0.999), fused=True)


def default_schedule() -> Callable[[float], float]:
    """Return the learning-rate schedule of `schedule`."""
    return WarmupDecay(warmup=0.02, decay=0.5)


def make_trainer(**options: Any) -> Any:
    """Make the Lightning trainer of `trainer=default`.

    Args:
        **options: Further arguments of `lightning.Trainer`, which replace those of the default.
    """
    import lightning

    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "precision": "32-true",
        "gradient_clip_val": 1.0,
        "log_every_n_steps": 25,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return lightning.Trainer(**(settings | options))
