"""Initial weights of a crosscoder.

Published recipes start with equal decoders for all sources and with the decoder's transpose as
encoder (Minder et al. 2025 §3.4; Lindsey et al. 2024): no latent begins as exclusive to a source. A
feature of one source alone then needs a latent that unlearns the other sources first. Where latents
are scarce, shared features are learned earlier and take them. So a fraction of the latents may
begin as exclusive to one source. During training all latents are free to change.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from crosscoder.values import is_finite, require_choice, require_number


@dataclass(frozen=True)
class TransposedDecoder:
    """Random unit directions, equal in all sources of one width, times `decoder_norm` per source.

    `W_enc = W_dec · encoder_scale / (decoder_norm · n_sources)`: with encoder_scale = 1 a latent
    reads the mean over sources of the projections on its direction. An exclusive latent reads its
    own source, or its own source minus the mean of the others, so that it does not react to what
    they have in common.

    Args:
        decoder_norm: Norm of every source's decoder.
        encoder_scale: Factor on the encoder; see above.
        exclusive_fraction: Fraction of the latents, the last ones, that begin as exclusive to one
            source, in equal numbers for each source.
        exclusive_encoder: Activations that exclusive latents read: "own" or "difference".
    """

    decoder_norm: float = 1.0
    encoder_scale: float = 1.0
    exclusive_fraction: float = 0.0
    exclusive_encoder: Literal["own", "difference"] = "own"

    def __post_init__(self) -> None:
        require_number("init.decoder_norm", self.decoder_norm, above=0)
        require_number("init.encoder_scale", self.encoder_scale, above=0)
        fraction = self.exclusive_fraction
        if not (is_finite(fraction) and 0 <= fraction <= 1):
            raise UserError(
                f"init.exclusive_fraction is a fraction of the latents, from 0 to 1, "
                f"not {fraction!r}"
            )
        require_choice("init.exclusive_encoder", self.exclusive_encoder, ("own", "difference"))

    def __call__(
        self, sources: Sources, n_latents: int, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (W_enc, W_dec), each [n_latents, d_total]."""
        directions = {}
        for width in dict.fromkeys(sources.widths):
            random = torch.randn(n_latents, width, generator=generator)
            directions[width] = nn.functional.normalize(random, dim=-1)
        W_dec = self.decoder_norm * torch.cat(
            [directions[width] for width in sources.widths], dim=-1
        )
        W_enc = W_dec / len(sources)
        n_exclusive = int(self.exclusive_fraction * n_latents / len(sources))
        if n_exclusive:
            self._require_subtractable(sources)
        for i, source in enumerate(sources, 1):
            latents = slice(n_latents - i * n_exclusive, n_latents - (i - 1) * n_exclusive)
            self._make_exclusive(W_enc, W_dec, latents, sources.slice(source.name), len(sources))
        return W_enc * (self.encoder_scale / self.decoder_norm), W_dec

    def _require_subtractable(self, sources: Sources) -> None:
        if self.exclusive_encoder == "difference" and len(set(sources.widths)) > 1:
            raise UserError(
                "init.exclusive_encoder=difference needs sources of one width, "
                f"not {sources.describe()}"
            )

    def _make_exclusive(
        self, W_enc: Tensor, W_dec: Tensor, latents: slice, own: slice, n_sources: int
    ) -> None:
        """Let latents read and write, in place, the columns `own` of one source only."""
        direction = W_dec[latents, own].clone()
        if self.exclusive_encoder == "difference":
            W_enc[latents] = -W_dec[latents] / max(1, n_sources - 1)
        else:
            W_enc[latents] = 0
        W_dec[latents] = 0
        W_enc[latents, own] = direction
        W_dec[latents, own] = direction
