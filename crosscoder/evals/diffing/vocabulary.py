"""The share of a planted vocabulary that a method names.

    share(direction)   fraction of its first promoted tokens that are planted, by each lens
    share(tokens)      the same of the tokens of a piece; pieces of one token count as one list
    share(method)      the largest share of its pieces

A token is planted if, without its leading space and in lower case, it is a planted word, or the
first token of one if that has at least MIN_LETTERS characters.

The chance level is the same figure of as many random pieces, as a mean over draws: latents against
random live latents of the crosscoder, directions against directions that point anywhere, tokens
against random tokens that are about as frequent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosscoder.evals.diffing.evidence import DirectionPiece, Evidence, LatentPiece, TokensPiece
from crosscoder.evals.diffing.lenses import N_PROMOTED, Lenses
from crosscoder.evals.diffing.removal import draw_directions
from crosscoder.lm.text import encode_text
from crosscoder.lm.types import Tokenizer

MIN_LETTERS = 3
NEIGHBOURS = 100  # tokens nearest in frequency, among which a random one is drawn
POOL = 400  # random latents or directions
N_DRAWS = 200
Shares = dict[str, float]


@dataclass(frozen=True)
class PlantedVocabulary:
    """The planted tokens, and what is named by chance.

    Args:
        planted: Which token ids are planted.
        counts: Occurrences of every token id in the held-out tokens.
        lenses: The lenses.
        seed: Random seed of the chance level.
    """

    planted: Bool[Tensor, "vocabulary"]
    counts: Int[Tensor, "vocabulary"]
    lenses: Lenses
    seed: int = 0

    def measure_pieces(self, promoted: Mapping[str, Tensor]) -> list[Shares]:
        """Return the shares of directions, by lens, from the tokens that they promote."""
        shares = {lens: self._share_rows(ids) for lens, ids in promoted.items()}
        n = len(next(iter(shares.values()), []))
        pieces: list[Shares] = [{} for _ in range(n)]
        for lens, by_piece in shares.items():
            for piece, share in zip(pieces, by_piece.tolist(), strict=True):
                piece[lens] = share
        return pieces

    def measure_chance(self, pieces: Sequence[Evidence]) -> Shares:
        """Return the chance level of a method with such pieces, by lens."""
        n_pieces = len(pieces)
        is_latent = [isinstance(piece, LatentPiece) for piece in pieces]
        pools = self.latent_pool if all(is_latent) else self.direction_pool
        generator = np.random.default_rng(self.seed)
        chance = {}
        for lens, pool in pools.items():
            drawn = generator.choice(pool, (N_DRAWS, n_pieces))
            chance[lens] = float(drawn.max(1).mean())
        return chance

    def measure_tokens(self, pieces: Sequence[TokensPiece]) -> tuple[float, float]:
        """Return the share of a method that names tokens, and its chance level."""
        lists = list_token_ids(pieces)
        others = ByFrequency.from_counts(self.counts)
        share = max(self._share(ids) for ids in lists)
        by_draw = []
        for draw in range(N_DRAWS):
            generator = np.random.default_rng((self.seed, draw))
            by_draw.append(max(self._share(others.draw_like(ids, generator)) for ids in lists))
        return share, float(np.mean(by_draw))

    @cached_property
    def latent_pool(self) -> dict[str, Float[np.ndarray, "pool"]]:
        """Shares of random live latents, by lens."""
        context = self.lenses.material.context
        first, second = self.lenses.material.diff_pair
        alive = context.latent_table.query("not dead")["latent"]
        chosen = np.random.default_rng(self.seed).permutation(alive)[:POOL]
        rows = torch.from_numpy(np.ascontiguousarray(chosen)).long()
        crosscoder = context.crosscoder
        deltas = crosscoder.decoder(first)[rows] - crosscoder.decoder(second)[rows]
        return self._share_pool(deltas.detach())

    @cached_property
    def direction_pool(self) -> dict[str, Float[np.ndarray, "pool"]]:
        """Shares of random directions, by lens."""
        first, _ = self.lenses.material.diff_pair
        width = self.lenses.material.context.crosscoder.sources[first].width
        return self._share_pool(draw_directions(POOL, width, self.seed))

    def _share_pool(self, directions: Tensor) -> dict[str, np.ndarray]:
        promoted = self.lenses.promote(directions)
        return {lens: self._share_rows(ids) for lens, ids in promoted.items()}

    def _share_rows(self, ids: Int[Tensor, "n promoted"]) -> Float[np.ndarray, "n"]:
        return self.planted[ids].float().mean(1).numpy()

    def _share(self, ids: Sequence[int]) -> float:
        return float(self.planted[torch.tensor(ids)].float().mean())


def find_planted_ids(
    tokenizer: Tokenizer, words: Sequence[str], n_ids: int
) -> Bool[Tensor, "vocabulary"]:
    """Return which token ids stand for a planted word.

    Args:
        tokenizer: The tokenizer.
        words: The planted words.
        n_ids: Number of token ids.
    """
    wanted = {word.strip().casefold() for word in words}
    for word in words:
        for text in (word, f" {word}"):
            first = str(tokenizer.decode(encode_text(tokenizer, text)[:1])).strip().casefold()
            if len(first) >= MIN_LETTERS:
                wanted.add(first)
    planted = torch.zeros(n_ids, dtype=torch.bool)
    for token, number in tokenizer.get_vocab().items():
        # the signs of a leading space in SentencePiece and in byte-level BPE
        if number < n_ids and token.lstrip("▁Ġ ").casefold() in wanted:
            planted[number] = True
    return planted


def list_token_ids(pieces: Sequence[TokensPiece]) -> list[list[int]]:
    """Return the tokens of each piece; those of pieces of one token are one list."""
    singles: list[int] = []
    lists = []
    for piece in pieces:
        if len(piece.ids) == 1:
            singles += piece.ids
        else:
            lists.append(list(piece.ids[:N_PROMOTED]))
    return [singles, *lists] if singles else lists


@dataclass(frozen=True)
class ByFrequency:
    """The tokens that occur in a text, by how often they do.

    Args:
        counts: Occurrences of every token id.
        order: The ids of those that occur, the rarest one first.
    """

    counts: Int[Tensor, "vocabulary"]
    order: Int[Tensor, "occurring"]

    @classmethod
    def from_counts(cls, counts: Int[Tensor, "vocabulary"]) -> "ByFrequency":
        """Order the tokens that occur."""
        order = counts.argsort(stable=True)
        return cls(counts, order[counts[order] > 0])

    def draw_like(self, ids: Sequence[int], generator: np.random.Generator) -> list[int]:
        """Draw for each token another one that is about as frequent; some may be the same.

        Each is drawn among the NEIGHBOURS tokens that are nearest in the order.
        """
        sorted_counts = self.counts[self.order]
        places = torch.searchsorted(sorted_counts, self.counts[torch.tensor(ids)])
        drawn = []
        for place in places.tolist():
            low = max(0, min(place - NEIGHBOURS // 2, len(self.order) - NEIGHBOURS))
            high = min(len(self.order), low + NEIGHBOURS)
            drawn.append(int(self.order[int(generator.integers(low, high))]))
        return drawn


def list_directed(pieces: Sequence[Evidence]) -> list[LatentPiece | DirectionPiece]:
    """Return the pieces that have a direction."""
    return [piece for piece in pieces if isinstance(piece, LatentPiece | DirectionPiece)]
