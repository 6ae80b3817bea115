"""Activations that were read from prompts, with their tokens."""

from dataclasses import dataclass

from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts, Tokens


@dataclass(frozen=True)
class Reading:
    """Activations of all sources, with their tokens.

    Args:
        acts: Activations [batch, d_total].
        tokens: Tokens of the rows; `tokens.document` counts the prompts.
        strings: Tokens as text.
        sources: Slices of the activations.
    """

    acts: Acts
    tokens: Tokens
    strings: list[str]
    sources: Sources

    def __repr__(self) -> str:
        return f"Reading({len(self.strings):,} tokens, acts of {self.sources.describe()})"

    def __getitem__(self, source: str) -> Tensor:
        return self.acts[:, self.sources.slice(source)]
