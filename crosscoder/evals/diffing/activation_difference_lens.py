"""Mean activation differences on the first tokens of unrelated text.

    δ̄_j = mean over texts of h_chat(j) − h_base(j),      j = 1, …, 5 tokens after BOS

Minder et al. 2025 (arXiv 2510.13900), "activation difference lens": what a narrow finetuning added
can be read from δ̄_j by the logit lens, although the texts have nothing to do with it. There are no
labels and no training. The paper takes 10,000 documents of web text. Here a text begins anywhere in
a held-out document that is no chat, after BOS. The positions are ranked by ‖δ̄_j‖.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from crosscoder.core.reading import Reading
from crosscoder.core.sampling import take_evenly
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from crosscoder.errors import NotApplicable
from crosscoder.evals.diffing.evidence import MAX_PIECES, DirectionPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.lm.reading import Tokenized, read_tokenized
from crosscoder.lm.text import get_bos
from crosscoder.values import require_whole


@dataclass(frozen=True)
class ActivationDifferenceLens:
    """One direction for each of the first positions.

    Args:
        n_texts: Number of texts; fewer if the held-out documents are too short.
        n_positions: Number of positions after BOS.
    """

    n_texts: int = 256
    n_positions: int = 5
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("n_texts of the activation-difference lens", self.n_texts)
        require_whole(
            "n_positions of the activation-difference lens", self.n_positions, most=MAX_PIECES
        )

    def find_evidence(self, material: Material) -> list[DirectionPiece]:
        """Return the directions."""
        pair = material.pair
        texts = cut_texts(material.context.heldout, self.n_texts, self.n_positions)
        bos = [(token, int(Kind.SPECIAL)) for token in get_bos(pair.tokenizer)]
        tokenized = []
        for text in texts:
            tokens = bos + [(token, int(Kind.PLAIN)) for token in text]
            read = list(range(len(bos), len(tokens)))
            tokenized.append(Tokenized(tokens, read))
        sources = material.context.crosscoder.sources
        hookpoints = list(dict.fromkeys(source.hookpoint for source in sources))
        lms = dict.fromkeys(pair.lms, tokenized)
        reading = read_tokenized(pair, lms, pair.sources(hookpoints), batch_size=64)
        means = average_by_position(reading, material.diff_pair, self.n_positions)
        norms = means.norm(dim=-1)
        pieces = []
        for place in norms.argsort(descending=True, stable=True).tolist():
            if norms[place] > 0:
                name = f"position {place + 1}"
                weight = float(norms[place])
                pieces.append(DirectionPiece.from_vector(name, weight, means[place], "difference"))
        return pieces


def average_by_position(
    reading: Reading, diff_pair: Sequence[str], n_positions: int
) -> Float[Tensor, "positions d_source"]:
    """Return δ̄ of texts that were read at the same number of positions each.

    Args:
        reading: The texts, one after the other.
        diff_pair: The two compared sources.
        n_positions: Number of positions of each text.
    """
    first, second = diff_pair
    difference = (reading[first] - reading[second]).double()
    return difference.unflatten(0, (-1, n_positions)).mean(0).float()


def cut_texts(store: Store, n_texts: int, length: int) -> list[list[int]]:
    """Cut plain text into pieces of one length, and return some, evenly spaced over the store.

    Args:
        store: Store of the tokens.
        n_texts: Number of pieces; fewer if there are not as many.
        length: Number of tokens of a piece.

    Raises:
        NotApplicable: No document has as many tokens.
    """
    texts: list[list[int]] = []
    for shard in store:
        texts += _cut_tokens(store.tokens(shard), length)
    if not texts:
        raise NotApplicable(
            f"the held-out documents have no {length} consecutive tokens of plain text"
        )
    return take_evenly(texts, n_texts)


def _cut_tokens(tokens: Tokens, length: int) -> list[list[int]]:
    is_plain = tokens.kind == Kind.PLAIN
    if not is_plain.any():
        return []
    follows = torch.zeros(len(tokens), dtype=torch.bool)
    is_next = tokens.position[1:] == tokens.position[:-1] + 1
    follows[1:] = is_next & is_plain[1:] & is_plain[:-1]
    run = (~follows).long().cumsum(0)  # number of each run of consecutive plain tokens
    pieces = []
    for ids in tokens.ids[is_plain].split(torch.bincount(run[is_plain])[1:].tolist()):
        for piece in ids.split(length):
            if len(piece) == length:
                pieces.append(piece.tolist())
    return pieces
