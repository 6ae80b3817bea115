"""Windows of held-out text in which single latents are ablated, and the KL that this causes.

A window is a few consecutive tokens of one document. The tokens of the document before it are its
context, in which nothing is ablated. A window is *active* for a latent if it begins with a token on
which the latent is active.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source
from crosscoder.data import Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.evals.support.heldout import read_batches
from crosscoder.interventions.ablate import select_values
from crosscoder.lm import Hookpoint
from crosscoder.lm.branches import choose_branching, make_branches
from crosscoder.lm.layout import find_piece_starts
from crosscoder.lm.log_probs import compute_in_chunks, compute_kl
from crosscoder.lm.types import PreTrainedModel
from crosscoder.runtime.progress import progress

BATCH_TOKENS = 1024
WINDOWS_PER_PASS = 64


@dataclass(frozen=True)
class TextPool:
    """Held-out sequences, and the activations of some latents on them.

    Args:
        ids: Token ids, [sequences, seq_len].
        positions: Positions of the tokens in their documents, [sequences, seq_len].
        known: Tokens of the kinds that the crosscoder was trained on, [sequences, seq_len].
        latents: The latents.
        f: Their activations, [sequences, seq_len, latents]; 0 on tokens that are not known.
    """

    ids: Int[Tensor, "sequences seq_len"]
    positions: Int[Tensor, "sequences seq_len"]
    known: Bool[Tensor, "sequences seq_len"]
    latents: list[int]
    f: Float[Tensor, "sequences seq_len latents"]

    @classmethod
    def read(
        cls, store: Store, crosscoder: Crosscoder, latents: Sequence[int], n_tokens: int
    ) -> "TextPool":
        """Read sequences that are spread evenly over a store, and encode them.

        Args:
            store: Held-out activations.
            crosscoder: Crosscoder that has the latents.
            latents: The latents whose activations are kept.
            n_tokens: Number of tokens, rounded up to whole sequences.
        """
        names = crosscoder.sources.names
        exclude = read_figure_exclude(crosscoder.provenance)
        device = crosscoder.W_dec.device
        chosen = torch.tensor(list(latents), device=device)
        columns: list[list[Tensor]] = [[], [], [], []]
        for tokens, acts, known in read_batches(
            store, names, n_tokens, BATCH_TOKENS, exclude=exclude
        ):
            f = torch.zeros(len(acts), len(latents))
            code = crosscoder.encode(acts[known].float().to(device))
            f[known] = select_values(code, chosen).cpu()
            for column, values in zip(
                columns, (tokens.ids, tokens.position, known, f), strict=True
            ):
                column.append(values.unflatten(0, (-1, store.seq_len)))
        ids, positions, all_known, all_f = (torch.cat(column) for column in columns)
        return cls(ids, positions, all_known, list(latents), all_f)

    @property
    def seq_len(self) -> int:
        """Tokens of a sequence."""
        return self.ids.shape[1]

    def find_starts(self, length: int) -> np.ndarray:
        """Return which tokens begin a window, [tokens]: a document's known tokens follow."""
        begins = find_piece_starts(self.positions)
        is_start = torch.zeros_like(self.known)
        fits = self.known.unfold(1, length, 1).all(-1)
        if length > 1:
            fits &= ~begins[:, 1:].unfold(1, length - 1, 1).any(-1)
        is_start[:, : fits.shape[1]] = fits
        return is_start.flatten().numpy()


@dataclass(frozen=True)
class Windows:
    """Windows of a pool, each for one latent.

    Args:
        latents: Index of each window's latent in the pool.
        starts: The first token of each, counted over all sequences of the pool.
        length: Tokens of a window.
        is_drawn_active: Windows that were drawn because the latent is active; the others were drawn
            from all.
    """

    latents: np.ndarray
    starts: np.ndarray
    length: int
    is_drawn_active: np.ndarray


def draw_windows(pool: TextPool, length: int, n_active: int, n_random: int, seed: int) -> Windows:
    """Draw windows for every latent of a pool; those of one latent do not overlap.

    Args:
        pool: The pool.
        length: Tokens of a window.
        n_active: Number of active windows of each latent; there are fewer if it is rarely active.
        n_random: Number of windows of each latent that are drawn from all.
        seed: Random seed.
    """
    is_start = pool.find_starts(length)
    f = pool.f.flatten(0, 1).numpy()
    latents: list[int] = []
    starts: list[int] = []
    drawn_active: list[bool] = []
    for number, latent in enumerate(pool.latents):
        generator = np.random.default_rng((seed, latent))
        candidates = np.flatnonzero(is_start & (f[:, number] > 0))
        active = _take_apart(generator.permutation(candidates), n_active, length, [])
        order = generator.permutation(np.flatnonzero(is_start))
        other = _take_apart(order, n_random, length, active)
        starts += active + other
        latents += [number] * (len(active) + len(other))
        drawn_active += [True] * len(active) + [False] * len(other)
    return Windows(np.array(latents), np.array(starts), length, np.array(drawn_active))


def _take_apart(order: np.ndarray, n: int, length: int, taken: Sequence[int]) -> list[int]:
    """Return the first `n` starts of windows that overlap neither each other nor those taken."""
    chosen: list[int] = []
    for start in order.tolist():
        if len(chosen) == n:
            break
        if all(abs(start - other) >= length for other in (*taken, *chosen)):
            chosen.append(start)
    return chosen


@torch.no_grad()
def measure_ablation_kls(
    model: PreTrainedModel,
    crosscoder: Crosscoder,
    sources: Sequence[Source],
    pool: TextPool,
    windows: Windows,
    title: str,
) -> np.ndarray:
    """Return KL(model ‖ model with the latent ablated) of every window, averaged over its tokens.

    A window on which the latent is not active is not run: its KL is 0.

    Args:
        model: The language model.
        crosscoder: Crosscoder that has the latents.
        sources: The model's sources, from which −f_j d_j is added.
        pool: The text.
        windows: Windows of the pool.
        title: Name in the progress bar.
    """
    kls = np.zeros(len(windows.starts))
    branching = choose_branching(model, pool.seq_len, WINDOWS_PER_PASS, windows.length)
    parts = list(_split_by_sequence(pool, windows))
    with progress("windows") as bar:
        task = bar.add_task(title, total=sum(len(part) for _, part in parts), note="")
        for sequence, part in parts:
            branches = make_branches(
                pool.ids[sequence].to(model.device),
                pool.positions[sequence].to(model.device),
                torch.tensor(windows.starts[part] % pool.seq_len, device=model.device),
                windows.length,
                branching,
            )
            added = _compute_added(crosscoder, sources, pool, windows, part)
            clean, edited = branches.compute_states(model, added)
            hiddens = [clean.flatten(0, 1), edited.flatten(0, 1)]
            kl = compute_in_chunks(model, compute_kl, hiddens=hiddens)
            kls[part] = kl.view(-1, windows.length).mean(1).numpy()
            bar.advance(task, len(part))
    return kls


def _split_by_sequence(pool: TextPool, windows: Windows) -> Iterator[tuple[int, np.ndarray]]:
    """Yield sequences and the numbers of their windows with activity, some at a time."""
    f = _select_f(pool, windows, np.arange(len(windows.starts)))
    is_active = (f > 0).any(1).numpy()
    sequences = windows.starts // pool.seq_len
    for sequence in np.unique(sequences[is_active]):
        numbers = np.flatnonzero(is_active & (sequences == sequence))
        for first in range(0, len(numbers), WINDOWS_PER_PASS):
            yield int(sequence), numbers[first : first + WINDOWS_PER_PASS]


def _select_f(pool: TextPool, windows: Windows, part: np.ndarray) -> Tensor:
    """Return the activations of each window's latent on its tokens, [windows, length]."""
    tokens = windows.starts[part, None] + np.arange(windows.length)
    latents = windows.latents[part, None]
    return pool.f.flatten(0, 1)[torch.tensor(tokens), torch.tensor(latents)]


def _compute_added(
    crosscoder: Crosscoder,
    sources: Sequence[Source],
    pool: TextPool,
    windows: Windows,
    part: np.ndarray,
) -> dict[Hookpoint, Tensor]:
    """Return −f_j d_j, which ablates the latents, [windows, length, width] by hookpoint."""
    latents = torch.tensor(pool.latents)[windows.latents[part]]
    decoders = crosscoder.W_dec[latents.to(crosscoder.W_dec.device)].cpu()
    added = -_select_f(pool, windows, part)[..., None] * decoders[:, None]
    by_hookpoint = {}
    for source in sources:
        columns = crosscoder.sources.slice(source.name)
        by_hookpoint[Hookpoint.parse(source.hookpoint)] = added[..., columns]
    return by_hookpoint
