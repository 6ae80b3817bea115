"""The text around rows of a store, and a latent's activation on it."""

import numpy as np

from crosscoder.data import Store
from crosscoder.diff.base import batches
from crosscoder.diff.topn import begins
from crosscoder.memory import kept
from crosscoder.model import Crosscoder
from crosscoder.progress import progress
from crosscoder.types import Tokens


def tokens_until(store: Store, row: int) -> tuple[Tokens, np.ndarray]:
    """Tokens of a store's shards up to the one that holds `row`, and where pieces of text begin."""
    parts: list[Tokens] = []
    for shard in store:
        if parts and sum(map(len, parts)) > row:
            break
        parts.append(store.tokens(shard))
    tokens = Tokens.cat(parts)
    position, document = tokens.position.numpy(), tokens.document.numpy()
    new = begins(document)
    new[1:] |= position[1:] <= position[:-1]  # they rise by one within a piece, or by more where tokens are left out
    new[np.cumsum([0, *map(len, parts[:-1])])] = True
    return tokens, np.flatnonzero(new)


def windows(pieces: np.ndarray, n: int, rows: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """First row and end of the window around each row, within its piece."""
    piece = np.searchsorted(pieces, rows, side="right") - 1
    ends = np.append(pieces[1:], n)
    return np.maximum(rows - before, pieces[piece]), np.minimum(rows + after + 1, ends[piece])


def activations(
    crosscoder: Crosscoder, store: Store, rows: np.ndarray, latents: np.ndarray, batch_size: int
) -> np.ndarray:
    """f of one latent on one row each, [n]; 0 where it is not active."""
    wanted = rows * crosscoder.n_latents + latents
    order = np.argsort(wanted)
    wanted, values = wanted[order], np.zeros(len(wanted))
    last = int(rows.max(initial=-1))
    with kept(), progress() as bar:
        task = bar.add_task("contexts", total=last + 1, note="")
        for batch in batches(crosscoder, store, batch_size):
            if int(batch.rows[0]) > last:
                break
            index = batch.code.index
            # rising, as entries are by row and within a row by latent
            held = (batch.rows[index.rows.cpu()] * crosscoder.n_latents + index.latents.cpu()).numpy()
            bar.update(task, completed=min(int(batch.rows[-1]), last) + 1)
            if len(held):
                here = slice(*np.searchsorted(wanted, [held[0], held[-1] + 1]))
                at = np.searchsorted(held, wanted[here])
                f = batch.code.values.detach().float().cpu().numpy()
                values[here] = np.where(held[at] == wanted[here], f[at], 0)
    unsorted = np.empty_like(values)
    unsorted[order] = values
    return unsorted
