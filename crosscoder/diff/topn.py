"""The largest entries per latent, kept while a store streams by."""

import numpy as np

ENTRY = np.dtype([("latent", "i4"), ("document", "i4"), ("row", "i8"), ("value", "f4"), ("priority", "f8")])
MERGE_AT = 2**18  # entries waiting before they are merged: sorting few at a time would sort what is kept over and over


class TopN:
    """Per latent the `n` entries of largest priority, at most one per document; of equal ones the earlier in the store.

    Exact, whatever the batches; memory is O(n · n_latents + MERGE_AT).
    """

    def __init__(self, n: int, n_latents: int) -> None:
        self.n = n
        self.floor = np.full(n_latents, -np.inf)  # a latent's n-th priority, once it has n
        self.kept = np.empty(0, ENTRY)
        self.waiting: list[np.ndarray] = []

    def update(self, priority: np.ndarray, **columns: np.ndarray) -> None:
        """Add entries, as columns (see ENTRY), whose rows come after those already seen; priority −inf is not kept."""
        chosen = np.flatnonzero(priority > self.floor[columns["latent"]])
        entries = np.empty(len(chosen), ENTRY)
        for name, column in {"priority": priority, **columns}.items():
            entries[name] = column[chosen]
        self.waiting.append(entries)
        if sum(map(len, self.waiting)) >= max(MERGE_AT, len(self.kept)):
            self.entries()

    def entries(self) -> np.ndarray:
        """What is kept, by latent and descending priority."""
        e = np.concatenate([self.kept, *self.waiting])
        where = e["latent"].astype(np.int64) << 32 | e["document"]
        order = np.lexsort((-e["priority"], where))  # stable: rows, which rise, decide ties
        e = e[order[begins(where[order])]]
        e = e[np.lexsort((e["row"], -e["priority"], e["latent"]))]
        place = _places(e["latent"])
        last = e[place == self.n - 1]
        self.floor[last["latent"]] = last["priority"]
        self.kept, self.waiting = e[place < self.n], []
        return self.kept


def begins(*columns: np.ndarray) -> np.ndarray:
    """Where sorted columns change, and at 0."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def _places(column: np.ndarray) -> np.ndarray:
    """Each entry's place among its equals in a sorted column, from 0."""
    at = np.arange(len(column))
    return at - np.maximum.accumulate(np.where(begins(column), at, 0))
