"""Rewrite foreign encoders with this project's activations and one row per source."""

import torch
from torch import Tensor

from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.types import Decoder, PerLatent


def fold_gate(
    W_enc: Decoder, b_mag: PerLatent, b_gate: PerLatent, r_mag: PerLatent
) -> tuple[Decoder, JumpReLU]:
    """Return a gated encoder as a JumpReLU.

    The encoder is W_enc · exp(r_mag) with bias b_mag, and θ = b_mag − exp(r_mag) · b_gate
    (Rajamanoharan et al. 2024).
    """
    gain = r_mag.exp()
    return W_enc * gain[:, None], JumpReLU.from_threshold(b_mag - gain * b_gate)


def split_per_source(
    W_enc: Tensor, b_enc: Tensor, W_dec: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split latents that code differently per source into one row for each of the M sources.

    Each row reads all sources and writes to one.

    Args:
        W_enc: Encoder, [n_latents, d_total].
        b_enc: Encoder bias, [n_latents].
        W_dec: Decoder, [M, n_latents, d_source].

    Returns:
        W_enc, b_enc, W_dec [M · n_latents, M, d_source], and `groups`, the latent of each row.
    """
    M, n_latents = W_dec.shape[:2]
    own_source = torch.eye(M)[:, None, :, None]
    columns = (W_dec[:, :, None] * own_source).flatten(0, 1)
    groups = torch.arange(n_latents).repeat(M)
    return W_enc.repeat(M, 1), b_enc.repeat(M), columns, groups
