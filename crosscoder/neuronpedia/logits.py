"""Tokens that a latent promotes and suppresses, with their logits, and the logits' histogram.

    logits_j = W_U norm(d_j)

It is the logit lens of `analysis/columns/lens.py`, over the whole vocabulary, as on Neuronpedia.
The final norm removes the decoder's length, so the logits of two latents can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from crosscoder.analysis.columns.lens import LATENTS_PER_CHUNK, RESIDUAL_SITES, compute_logits
from crosscoder.core.sources import Source
from crosscoder.errors import NotApplicable
from crosscoder.lm import Pair
from crosscoder.lm.loading.checks import require_lens
from crosscoder.lm.readable_tokens import decode_tokens

N_TOKENS = 10
N_BARS = 50


@dataclass(frozen=True)
class Bars:
    """A histogram: the middle of each bar, and the number of values in it."""

    values: Sequence[float] = ()
    heights: Sequence[float] = ()


@dataclass(frozen=True)
class TokenLogits:
    """Logits that one decoder writes; empty for a latent that writes nothing.

    Args:
        promoted: Tokens with the largest logits, the largest first.
        promoted_values: Their logits.
        suppressed: Tokens with the smallest logits, the smallest first.
        suppressed_values: Their logits.
        bars: Histogram of the logits of all tokens.
    """

    promoted: Sequence[str] = ()
    promoted_values: Sequence[float] = ()
    suppressed: Sequence[str] = ()
    suppressed_values: Sequence[float] = ()
    bars: Bars = Bars()


class Unembedding:
    """The end of a language model, through which decoders of one source are read.

    Args:
        pair: The language models.
        source: The source.

    Raises:
        NotApplicable: The source does not write into the residual stream in its own basis, or the
            model's head does not read the final norm.
    """

    def __init__(self, pair: Pair, source: Source) -> None:
        if source.hookpoint.partition(".")[0] not in RESIDUAL_SITES:
            raise NotApplicable(
                f"{source.name} is read at {source.hookpoint or 'no known hookpoint'}, "
                "not in the residual stream"
            )
        self.model = pair[source.lm]
        require_lens(self.model)
        n_tokens = compute_logits(self.model, torch.ones(1, source.width)).shape[1]
        self.texts = decode_tokens(pair.name_tokens(range(n_tokens), source.lm))

    @torch.no_grad()
    def read(self, decoder: Float[Tensor, "n_latents d_source"]) -> list[TokenLogits]:
        """Read the decoders of some latents, in raw units."""
        found = []
        for directions in decoder.split(LATENTS_PER_CHUNK):
            logits = compute_logits(self.model, directions).float().cpu()
            for row, writes_something in zip(logits, directions.any(-1).tolist(), strict=True):
                found.append(self._rank(row) if writes_something else TokenLogits())
        return found

    def _rank(self, logits: Float[Tensor, "vocabulary"]) -> TokenLogits:
        n = min(N_TOKENS, len(logits))
        largest = logits.topk(n)
        smallest = logits.topk(n, largest=False)
        return TokenLogits(
            [self.texts[i] for i in largest.indices.tolist()],
            largest.values.tolist(),
            [self.texts[i] for i in smallest.indices.tolist()],
            smallest.values.tolist(),
            count_bars(logits),
        )


def count_bars(values: Float[Tensor, "n"]) -> Bars:
    """Count values in N_BARS bars of equal width between the smallest and the largest."""
    low, high = values.aminmax()
    heights = torch.histc(values, N_BARS, float(low), float(high))
    width = (high - low) / N_BARS
    middles = low + width * (torch.arange(N_BARS) + 0.5)
    return Bars(middles.tolist(), heights.tolist())
