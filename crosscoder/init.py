"""Initial weights of a crosscoder.

Every published recipe starts all sources' decoders equal and the encoder as the decoder's transpose (science: Minder et al.
2025 §3.4; Lindsey et al. 2024), so that no latent begins as anybody's own.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from crosscoder.sources import Sources


@dataclass(frozen=True)
class TransposedDecoder:
    """Random unit directions, the same in every source of one width, scaled to `decoder_norm` per source.

    `W_enc = W_dec · encoder_scale / (decoder_norm · n_sources)`, so that with encoder_scale = 1 a latent reads the mean over
    sources of their projections on its direction.
    """

    decoder_norm: float = 1.0
    encoder_scale: float = 1.0

    def __call__(self, sources: Sources, n_latents: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """(W_enc, W_dec), each [n_latents, d_total]."""
        directions = {
            width: nn.functional.normalize(torch.randn(n_latents, width, generator=generator), dim=-1)
            for width in dict.fromkeys(sources.widths)
        }
        W_dec = self.decoder_norm * torch.cat([directions[width] for width in sources.widths], dim=-1)
        return W_dec * (self.encoder_scale / (self.decoder_norm * len(sources))), W_dec
