"""Initial weights of a crosscoder.

Published recipes start all sources' decoders equal and the encoder as the decoder's transpose (Minder et al. 2025 §3.4; Lindsey
et al. 2024): no latent begins as anybody's own. A feature that only one source has then needs a latent to unlearn the other
sources first, and where latents are scarce, shared features get there before. So a share may begin as one source's own; all are
free to become anything.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from crosscoder.errors import UserError
from crosscoder.sources import Sources


@dataclass(frozen=True)
class TransposedDecoder:
    """Random unit directions, the same in every source of one width, scaled to `decoder_norm` per source.

    `W_enc = W_dec · encoder_scale / (decoder_norm · n_sources)`, so that with encoder_scale = 1 a latent reads the mean over
    sources of their projections on its direction. One that is a source's own reads that source's, or that source's less the
    mean of the others: then what they have in common does not stir it.

    Args:
        decoder_norm: of every source's decoder.
        encoder_scale: see above.
        own: share of the latents that begin as one source's own, the last ones, as many for each source.
        reads: what these read, "own" or "difference".
    """

    decoder_norm: float = 1.0
    encoder_scale: float = 1.0
    own: float = 0.0
    reads: Literal["own", "difference"] = "own"

    def __post_init__(self) -> None:
        if not 0 <= self.own <= 1:
            raise UserError(f"init.own is a share of the latents, from 0 to 1, not {self.own}")
        if self.reads not in ("own", "difference"):
            raise UserError(f"init.reads is own or difference, not {self.reads!r}")

    def __call__(self, sources: Sources, n_latents: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """(W_enc, W_dec), each [n_latents, d_total]."""
        directions = {
            width: nn.functional.normalize(torch.randn(n_latents, width, generator=generator), dim=-1)
            for width in dict.fromkeys(sources.widths)
        }
        W_dec = self.decoder_norm * torch.cat([directions[width] for width in sources.widths], dim=-1)
        W_enc = W_dec / len(sources)
        n = int(self.own * n_latents / len(sources))
        if n and self.reads == "difference" and len(directions) > 1:
            raise UserError(f"init.reads=difference needs sources of one width, not {sources.describe()}")
        for i, source in enumerate(sources, 1):
            latents, own = slice(n_latents - i * n, n_latents - (i - 1) * n), sources.slice(source.name)
            direction = W_dec[latents, own].clone()
            others = -W_dec[latents] / max(1, len(sources) - 1) if self.reads == "difference" else 0
            W_enc[latents], W_dec[latents] = others, 0
            W_enc[latents, own] = W_dec[latents, own] = direction
        return W_enc * (self.encoder_scale / self.decoder_norm), W_dec
