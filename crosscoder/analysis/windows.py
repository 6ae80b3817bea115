"""Windows of text around rows of a store, and the activations of a latent in them."""

import numpy as np
from scipy import sparse

from crosscoder.analysis.base import Batch, encode_store
from crosscoder.analysis.topn import is_group_start
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Tokens
from crosscoder.data import Store
from crosscoder.runtime.memory import retain_freed_memory
from crosscoder.runtime.progress import progress


def read_tokens(store: Store, last_row: int) -> tuple[Tokens, np.ndarray]:
    """Read the shards of a store up to the one that holds a row.

    Returns:
        Their tokens, and the rows at which pieces of text begin.
    """
    shards: list[Tokens] = []
    n_read = 0
    for shard in store:
        if shards and n_read > last_row:
            break
        shards.append(store.tokens(shard))
        n_read += len(shards[-1])
    tokens = Tokens.cat(shards)
    position = tokens.position.numpy()
    is_start = is_group_start(tokens.document.numpy())
    # within a piece positions rise by one, or by more where tokens are left out
    is_start[1:] |= position[1:] <= position[:-1]
    lengths = [len(shard) for shard in shards]
    shard_starts = np.cumsum([0, *lengths[:-1]])
    is_start[shard_starts] = True
    return tokens, np.flatnonzero(is_start)


def find_windows(
    piece_starts: np.ndarray, n_tokens: int, rows: np.ndarray, before: int, after: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row and the end of the window around each row, within its piece of text.

    Args:
        piece_starts: Rows at which pieces begin.
        n_tokens: Number of rows.
        rows: Rows in the middle of the windows.
        before: Largest number of tokens before the row.
        after: Largest number of tokens after it.
    """
    piece = np.searchsorted(piece_starts, rows, side="right") - 1
    piece_ends = np.append(piece_starts[1:], n_tokens)
    starts = np.maximum(rows - before, piece_starts[piece])
    ends = np.minimum(rows + after + 1, piece_ends[piece])
    return starts, ends


def ragged_arange(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the ranges start … start + length, one after the other.

    >>> ragged_arange(np.array([5, 0]), np.array([3, 2])).tolist()
    [5, 6, 7, 0, 1]
    """
    ends = np.cumsum(lengths)
    n_total = ends[-1] if len(ends) else 0
    offsets = starts - (ends - lengths)  # of each range from its place in the result
    return np.arange(n_total) + np.repeat(offsets, lengths)


def read_activations(
    crosscoder: Crosscoder, store: Store, rows: np.ndarray, latents: np.ndarray, batch_size: int
) -> np.ndarray:
    """Return f of one latent on one row each, [n]; 0 where it is not active."""
    values = np.zeros(len(rows))
    order = np.argsort(rows)
    sorted_rows = rows[order]
    last_row = int(rows.max(initial=-1))
    with retain_freed_memory(), progress() as bar:
        task = bar.add_task("contexts", total=last_row + 1, note="")
        for batch in encode_store(crosscoder, store, batch_size):
            batch_rows = batch.rows.numpy()
            if batch_rows[0] > last_row:
                break
            bar.update(task, completed=min(int(batch_rows[-1]), last_row) + 1)
            start, end = np.searchsorted(sorted_rows, [batch_rows[0], batch_rows[-1] + 1])
            wanted = order[start:end]
            # special tokens are in no batch: their place is that of the next row
            place = np.searchsorted(batch_rows, rows[wanted])
            is_in_batch = batch_rows[place] == rows[wanted]
            f = _to_matrix(batch)[place, latents[wanted]]
            values[wanted] = np.where(is_in_batch, np.asarray(f).ravel(), 0)
    return values


def _to_matrix(batch: Batch) -> sparse.csr_matrix:
    """Return the code of a batch as a matrix [tokens, n_latents]."""
    index = batch.code.index
    values = batch.code.values.detach().float().cpu().numpy()
    columns = index.latents.cpu().numpy()
    row_starts = index.starts.cpu().numpy()
    return sparse.csr_matrix((values, columns, row_starts), shape=(len(batch), index.n_latents))
