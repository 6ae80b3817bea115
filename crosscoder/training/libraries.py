"""Settings of torch and Lightning for training."""

import logging
import warnings

import torch

NOISY_LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
)
# warnings that do not apply, and why
IGNORED_WARNINGS = (
    ".*does not have many workers.*",  # batches come from memory
    ".*dataloader is not resumable.*",  # the data module is
    ".*AMP with fp16 is not supported.*",  # trainer.py refuses that
    ".*LeafSpec.*",  # Lightning 2.6 with newer torch
    ".*`IterableDataset` has `__len__` defined.*",
)


def silence_libraries() -> None:
    """Hide messages of Lightning and torch that do not help a user."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def set_matmul_precision() -> None:
    """Allow TF32 for products of float32 matrices on a GPU."""
    torch.set_float32_matmul_precision("high")
