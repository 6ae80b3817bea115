"""Labels without a language model: words that tell a latent's windows from others.

The distinctive words of a latent are those with the largest z-score of the log-odds ratio between
its active windows and the others (Monroe, Colaresi & Quinn 2008, "Fightin' Words", §3.3, with a
prior of one half):

    δ_w = log((a_w + ½) / (A − a_w + ½)) − log((b_w + ½) / (B − b_w + ½))
    z_w = δ_w / √(1/(a_w + ½) + 1/(A − a_w + ½) + 1/(b_w + ½) + 1/(B − b_w + ½))

    a_w   active windows in which the latent is active on the word, of A
    b_w   other windows that contain the word, of B

The label predicts that the latent is active in a window if one of its words occurs there. So it is
scored by the same detection test as a label in prose.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from crosscoder.evals.explanations.examples import Example, LatentExamples

N_WORDS = 5
MIN_Z = 1.0
HALF = 0.5


def find_distinctive_words(examples: LatentExamples) -> list[str]:
    """Return up to N_WORDS words, the most distinctive first; there may be none."""
    active = _count_windows(_list_active_words(example) for example in examples.shown)
    other = _count_windows(_list_words(example) for example in examples.shown_inactive)
    words = sorted(active)
    z = _compute_z(
        np.array([active[word] for word in words], dtype=float),
        np.array([other[word] for word in words], dtype=float),
        len(examples.shown),
        len(examples.shown_inactive),
    )
    order = np.argsort(-z, kind="stable")
    return [words[place] for place in order[:N_WORDS] if z[place] > MIN_Z]


def write_lexical_label(words: Sequence[str], promoted: Sequence[str]) -> str:
    """Return a label of distinctive words and of the first promoted tokens."""
    parts = []
    if words:
        parts.append("on " + ", ".join(f'"{word}"' for word in words))
    stripped = [token.strip() for token in promoted]
    named = [token for token in dict.fromkeys(stripped) if token]  # "the" and " the" are one word
    if named:
        parts.append("writes " + ", ".join(f'"{token}"' for token in named[:N_WORDS]))
    return "; ".join(parts)


def predict_by_words(words: Sequence[str], examples: Iterable[Example]) -> list[bool]:
    """Tell for each window whether it contains one of the words."""
    wanted = set(words)
    return [not wanted.isdisjoint(_list_words(example)) for example in examples]


def _list_words(example: Example) -> set[str]:
    return {_normalise(token) for token in example.tokens} - {""}


def _list_active_words(example: Example) -> set[str]:
    return {_normalise(example.tokens[place]) for place in example.active_places} - {""}


def _normalise(token: str) -> str:
    return token.strip().lower()


def _count_windows(words_by_window: Iterable[set[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for words in words_by_window:
        counts.update(words)
    return counts


def _compute_z(a: np.ndarray, b: np.ndarray, n_a: int, n_b: int) -> np.ndarray:
    cells = [a + HALF, n_a - a + HALF, b + HALF, n_b - b + HALF]
    log_odds = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    variance = sum(1 / cell for cell in cells)
    return log_odds / np.sqrt(variance)
