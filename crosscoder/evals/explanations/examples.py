"""Windows of held-out text from which a label is written, and others on which it is scored.

A window is a number of tokens of one document; Paulo et al. 2024 take 32 ("Automatically
Interpreting Millions of Features in Large Language Models", arXiv 2410.13928). Active windows are
drawn from the deciles of their largest activation, so that a label cannot rest on the strongest
ones alone. Windows for the label come from the first half of the text, those for the score from the
second half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosscoder.evals.support.windows import TextPool

N_STRATA = 10
MIN_WINDOWS = 4  # active windows for the label, and for the score


@dataclass(frozen=True)
class Example:
    """A window, as one latent sees it.

    Args:
        tokens: Texts of the tokens.
        activations: The latent's activation on each.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def text(self) -> str:
        """The text of the window."""
        return "".join(self.tokens)

    @property
    def active_places(self) -> list[int]:
        """Places of the tokens on which the latent is active."""
        return [place for place, value in enumerate(self.activations) if value > 0]


@dataclass(frozen=True)
class LatentExamples:
    """The windows of one latent.

    Args:
        latent: The latent.
        shown: Active windows for the label, by descending activation.
        shown_inactive: As many windows without activity, for the label.
        active: Active windows for the score, in random order.
        inactive: Windows without activity, for the score.
    """

    latent: int
    shown: list[Example]
    shown_inactive: list[Example]
    active: list[Example]
    inactive: list[Example]


def draw_examples(
    pool: TextPool, names: Sequence[str], length: int, n_shown: int, n_scored: int, seed: int
) -> dict[int, LatentExamples]:
    """Draw the windows of every latent of a pool.

    Args:
        pool: Held-out sequences with the activations of the latents.
        names: Text of each token of the pool, [tokens], sequence after sequence.
        length: Tokens of a window.
        n_shown: Number of active windows for the label.
        n_scored: Number of active windows for the score, and of those without activity.
        seed: Random seed.

    Returns:
        Examples by latent, without the latents that have fewer than MIN_WINDOWS active windows in
        either half of the text.
    """
    starts = _tile(pool.find_starts(length), length)
    is_first_half = starts < pool.ids.numel() // 2
    f = pool.f.flatten(0, 1).numpy()
    drawn = {}
    for number, latent in enumerate(pool.latents):
        generator = np.random.default_rng((seed, latent))
        windows = f[starts[:, None] + np.arange(length), number]
        peak = windows.max(1)
        shown = _draw_from_deciles(peak, is_first_half, n_shown, generator)
        active = _draw_from_deciles(peak, ~is_first_half, n_scored, generator)
        if min(len(shown), len(active)) < MIN_WINDOWS:
            continue
        chosen = [
            shown[np.argsort(-peak[shown], kind="stable")],
            _draw_inactive(peak, is_first_half, len(shown), generator),
            generator.permutation(active),
            _draw_inactive(peak, ~is_first_half, len(active), generator),
        ]
        groups = [_make_examples(names, starts[rows], windows[rows]) for rows in chosen]
        drawn[latent] = LatentExamples(latent, *groups)
    return drawn


def _tile(is_start: np.ndarray, length: int) -> np.ndarray:
    """Return the starts of windows that do not overlap: each at the first place that is free."""
    starts: list[int] = []
    for start in np.flatnonzero(is_start).tolist():
        if not starts or start >= starts[-1] + length:
            starts.append(start)
    return np.array(starts, dtype=int)


def _draw_from_deciles(
    peak: np.ndarray, is_allowed: np.ndarray, n: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw active windows, as many from each decile of their largest activation as possible."""
    active = np.flatnonzero(is_allowed & (peak > 0))
    active = active[np.argsort(peak[active], kind="stable")]
    if len(active) <= n:
        return active
    strata = [
        generator.permutation(stratum) for stratum in np.array_split(active, min(N_STRATA, n))
    ]
    drawn: list[int] = []
    turn = 0
    while len(drawn) < n:  # one of each decile in turn
        for stratum in strata:
            if turn < len(stratum) and len(drawn) < n:
                drawn.append(int(stratum[turn]))
        turn += 1
    return np.array(drawn)


def _draw_inactive(
    peak: np.ndarray, is_allowed: np.ndarray, n: int, generator: np.random.Generator
) -> np.ndarray:
    inactive = np.flatnonzero(is_allowed & (peak <= 0))
    return generator.permutation(inactive)[:n]


def _make_examples(names: Sequence[str], starts: np.ndarray, windows: np.ndarray) -> list[Example]:
    """Return windows as examples.

    Args:
        names: Text of each token of the pool.
        starts: The first token of each window.
        windows: The latent's activations in each window, [windows, length].
    """
    examples = []
    for start, activations in zip(starts.tolist(), windows.tolist(), strict=True):
        tokens = tuple(names[start : start + len(activations)])
        examples.append(Example(tokens, tuple(activations)))
    return examples
