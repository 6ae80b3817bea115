"""Token-injection test: does a latent react to single words instead of what a contrast is about?

A few of the tokens on which a latent is most active are inserted into unrelated text:

    m_j(t)        max over the tokens of text t of the activation f_j
    rise_j        mean over texts of m_j(t with tokens inserted) − m_j(t)
    contrast_j    |mean over pairs of m_j(first prompt) − m_j(second prompt)|, over the tokens that
                  the contrast compares
    effect_j      rise_j / contrast_j
    triggered_j   1 if effect_j ≥ 1, else 0
    d_j           rise_j / √((var_t m_j(t with tokens inserted) + var_t m_j(t)) / 2)   (Cohen's d)

The tokens of latent j are those with the largest Σ_{i: token i is v} f_j(i) / (count of v + 2) on
held-out tokens. Ma, Liang, Chen & Sojoudi 2026 (arXiv 2601.05679) inserted three tokens, took the
maximum over a text, and called d ≥ 0.8 token-driven: 45 to 90 % of the latents that a contrast had
chosen. The test can refute that a latent is about the contrast's subject, but not confirm it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.analysis.base import encode_store
from crosscoder.analysis.reading import encode_rows, mask_known_tokens
from crosscoder.analysis.spans import PairedReading
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.types import Kind
from crosscoder.data import Store
from crosscoder.errors import UserError
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.heldout import read_sequences
from crosscoder.lm import Pair
from crosscoder.lm.reading import Tokenized, read_tokenized
from crosscoder.lm.text import get_bos

N_TOP = 10  # tokens per latent, from which those that are inserted are drawn
N_INSERTED = 3
N_TEXTS = 16
TEXT_LENGTH = 32  # tokens of an unrelated text
PSEUDOCOUNT = 2  # lowers the mean activation of rare tokens


@dataclass(frozen=True)
class Injection:
    """Outcome of the test for one latent; see the module for the formulas.

    Args:
        latent: Index of the latent.
        tokens: The tokens from which those that are inserted are drawn.
        rise: rise_j.
        contrast: contrast_j.
        cohens_d: d_j; 0 if the latent is silent on all texts.
    """

    latent: int
    tokens: Sequence[str]
    rise: float
    contrast: float
    cohens_d: float

    @property
    def effect(self) -> float | None:
        """effect_j; None if the two kinds of prompts do not differ."""
        return self.rise / self.contrast if self.contrast else None

    @property
    def is_triggered(self) -> int | None:
        """triggered_j; None if the two kinds of prompts do not differ."""
        return None if self.effect is None else int(self.effect >= 1)

    def make_row(self) -> dict[str, Any]:
        """Return the columns that stand beside the latent in tables of an eval."""
        names = " ".join(self.tokens[:N_INSERTED])
        return {
            "top tokens": names.replace("\n", "⏎"),
            "injection d": self.cohens_d,
            "token_effect": self.effect,
            "token_triggered": self.is_triggered,
        }

    def make_columns(self) -> dict[str, Any]:
        """Return the columns of the table of latents (measured.py)."""
        return {
            "latent": self.latent,
            "token_effect": self.effect,
            "token_triggered": self.is_triggered,
        }


def inject_tokens(
    context: EvalContext, pair: Pair, prompts: PairedReading, latents: Sequence[int]
) -> list[Injection]:
    """Return the outcome of the test for each latent.

    Args:
        context: The crosscoder, and the held-out tokens.
        pair: The language models.
        prompts: The contrast's prompts.
        latents: The latents to test.
    """
    crosscoder = context.crosscoder
    tokens = find_top_tokens(crosscoder, context.heldout, latents)
    plain = take_texts(context.heldout, N_TEXTS, TEXT_LENGTH)
    generator = np.random.default_rng(context.seed)
    injected = []
    for own_tokens in tokens:
        injected += [insert(text, own_tokens, generator) for text in plain]
    reading = _read(crosscoder, pair, plain + injected)
    rows = mask_known_tokens(crosscoder, reading).nonzero()[:, 0]
    n_texts = len(plain)
    maxima = find_maxima(crosscoder, reading, rows, n_texts + len(injected), latents)
    before = maxima[:n_texts].T
    # of each latent, only the texts with its own tokens count
    by_owner = maxima[n_texts:].view(len(latents), n_texts, len(latents))
    after = by_owner.diagonal(dim1=0, dim2=2).T
    contrast = _compare_prompts(crosscoder, prompts, latents)
    outcomes = []
    for place, latent in enumerate(latents):
        rise, cohens_d = compute_rise(before[place], after[place])
        names = pair.name_tokens(tokens[place])
        outcomes.append(Injection(latent, names, rise, float(contrast[place]), cohens_d))
    return outcomes


def count_triggered(injections: Sequence[Injection]) -> int:
    """Return the number of latents that their tokens activate as strongly as the contrast does."""
    return sum(injection.is_triggered == 1 for injection in injections)


def find_top_tokens(
    crosscoder: Crosscoder, store: Store, latents: Sequence[int], n: int = N_TOP
) -> list[list[int]]:
    """Return for each latent the ids of the tokens on which it is most active, at most `n`.

    Special tokens are left out.
    """
    place_of_latent = _map_to_places(crosscoder, latents)
    all_ids: list[Tensor] = []
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in encode_store(crosscoder, store):
        all_ids.append(batch.tokens.ids)
        places = place_of_latent[batch.code.index.latents.cpu()]
        is_wanted = places >= 0
        ids = batch.tokens.ids[batch.code.index.rows.cpu()]
        values = batch.code.values.cpu().double()
        found.append((places[is_wanted], ids[is_wanted], values[is_wanted]))
    vocabulary, counts = torch.cat(all_ids).unique(return_counts=True)
    places, ids, values = (torch.cat(column) for column in zip(*found, strict=True))
    sums = torch.zeros(len(latents), len(vocabulary), dtype=torch.float64)
    columns = torch.searchsorted(vocabulary, ids)
    sums.index_put_((places, columns), values, accumulate=True)
    scores = sums / (counts + PSEUDOCOUNT)
    top = []
    for score in scores:
        best = score.argsort(descending=True, stable=True)[:n]
        top.append(vocabulary[best[score[best] > 0]].tolist())
    return top


def take_texts(store: Store, n_texts: int, length: int) -> list[list[int]]:
    """Return ids of the first tokens of unrelated documents, without special tokens.

    They are plain text, or chats if there is nothing else; evenly spaced over the store.

    Raises:
        UserError: There is no text.
    """
    n_tokens = n_texts * store.seq_len
    sequences = list(read_sequences(store, n_tokens, (Kind.PLAIN,), store.seq_len))
    if not sequences:
        sequences = list(read_sequences(store, n_tokens, (), store.seq_len))
    texts = []
    for tokens in sequences:
        content = tokens[tokens.is_content]
        if not len(content):
            continue
        documents, counts = content.document.unique(return_counts=True)
        longest = documents[counts.argmax()]
        texts.append(content.ids[content.document == longest][:length].tolist())
    if not texts:
        raise UserError(f"store {store.folder} has no sequence with ordinary tokens")
    return texts


def insert(text: Sequence[int], tokens: Sequence[int], generator: np.random.Generator) -> list[int]:
    """Return a text with N_INSERTED of the tokens at random places; all if there are fewer."""
    n = min(N_INSERTED, len(tokens))
    result = list(text)
    for token in generator.choice(list(tokens), n, replace=False).tolist():
        result.insert(int(generator.integers(len(result) + 1)), token)
    return result


def find_maxima(
    crosscoder: Crosscoder,
    reading: Reading,
    rows: Int[Tensor, "chosen"],
    n_documents: int,
    latents: Sequence[int],
) -> Float[Tensor, "documents chosen_latents"]:
    """Return each latent's largest activation on each document's rows; 0 where it is silent."""
    place_of_latent = _map_to_places(crosscoder, latents)
    maxima = torch.zeros(n_documents * len(latents), dtype=torch.float64)
    for chunk, code in encode_rows(crosscoder, reading, rows):
        places = place_of_latent[code.index.latents.cpu()]
        is_wanted = places >= 0
        documents = reading.tokens.document[chunk[code.index.rows.cpu()]]
        cells = documents[is_wanted] * len(latents) + places[is_wanted]
        values = code.values.detach().cpu().double()
        maxima.scatter_reduce_(0, cells, values[is_wanted], "amax")
    return maxima.view(n_documents, len(latents))


def _map_to_places(crosscoder: Crosscoder, latents: Sequence[int]) -> Int[Tensor, "n_latents"]:
    """Return the place of every latent in a list of some; -1 for the others."""
    places = torch.full((crosscoder.n_latents,), -1)
    places[list(latents)] = torch.arange(len(latents))
    return places


def compute_rise(
    before: Float[Tensor, "texts"], after: Float[Tensor, "texts"]
) -> tuple[float, float]:
    """Return rise_j and d_j of a latent's largest activations on texts."""
    rise = float((after - before).mean())
    spread = float(((after.var(correction=0) + before.var(correction=0)) / 2).sqrt())
    return rise, rise / spread if spread else 0.0


def _compare_prompts(
    crosscoder: Crosscoder, prompts: PairedReading, latents: Sequence[int]
) -> Float[Tensor, "chosen_latents"]:
    """Return contrast_j of each latent."""
    n_pairs = prompts.n_pairs
    maxima = find_maxima(crosscoder, prompts.reading, prompts.rows, 2 * n_pairs, latents)
    return (maxima[:n_pairs] - maxima[n_pairs:]).mean(0).abs()


def _read(crosscoder: Crosscoder, pair: Pair, texts: Sequence[Sequence[int]]) -> Reading:
    """Read texts with all models; BOS is put before each of them."""
    bos = [(token, int(Kind.SPECIAL)) for token in get_bos(pair.tokenizer)]
    tokenized = []
    for text in texts:
        tokens = bos + [(token, int(Kind.PLAIN)) for token in text]
        tokenized.append(Tokenized(tokens, list(range(len(tokens)))))
    hookpoints = list(dict.fromkeys(source.hookpoint for source in crosscoder.sources))
    return read_tokenized(pair, dict.fromkeys(pair.lms, tokenized), pair.sources(hookpoints))
