"""Contexts in which the two models predict most differently.

    KL(t) = Σ_v p_chat(v | t) log (p_chat(v | t) / p_base(v | t))

A context is ranked by the largest KL of its tokens. Per-token KL is the simplest way to look for
texts that a finetuning is about, and one of the methods of the diffing toolkit.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from crosscoder.evals.diffing.evidence import MAX_PIECES, ContextPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.predictions import Predictions
from crosscoder.lm import Pair


@dataclass(frozen=True)
class TokenKL:
    """The contexts with the largest KL(chat ‖ base) at one of their tokens."""

    uses_labels: ClassVar[bool] = False

    def find_evidence(self, material: Material) -> list[ContextPiece]:
        """Return the contexts."""
        predictions = material.predictions
        largest = torch.zeros(predictions.n_contexts, dtype=torch.float64)
        largest.scatter_reduce_(0, predictions.contexts, predictions.kl, "amax")
        pieces = []
        for context in largest.argsort(descending=True, stable=True)[:MAX_PIECES].tolist():
            if not largest[context] > 0:  # the models predict the same
                break
            text = write_context(material.pair, predictions, context)
            pieces.append(ContextPiece(text, float(largest[context])))
        return pieces


def write_context(pair: Pair, predictions: Predictions, context: int) -> str:
    """Return the text of a context, with its token of the largest KL in brackets."""
    rows = (predictions.contexts == context).nonzero()[:, 0]
    peak = int(predictions.kl[rows].argmax())
    tokens = pair.name_tokens(predictions.tokens.ids[rows].tolist())
    tokens[peak] = f"⟦{tokens[peak]}⟧"
    return "".join(tokens).replace("▁", " ").strip()
