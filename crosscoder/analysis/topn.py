"""The largest entries per latent, collected while a store streams by."""

import numpy as np

ENTRY = np.dtype(
    [("latent", "i4"), ("document", "i4"), ("row", "i8"), ("value", "f4"), ("priority", "f8")]
)
# number of new entries that triggers a merge: smaller merges would sort the kept entries too often
MERGE_AT = 2**18


class TopN:
    """Per latent the `n` entries of largest priority, at most one per document.

    Of equal priorities the entry that comes first in the store is kept. The result does not depend
    on the batches; memory is O(n · n_latents + MERGE_AT).

    Args:
        n: Number of entries per latent.
        n_latents: Number of latents.
    """

    def __init__(self, n: int, n_latents: int) -> None:
        self.n = n
        # smallest kept priority of a latent that has n entries
        self.floor = np.full(n_latents, -np.inf)
        self.kept = np.empty(0, ENTRY)
        self.new: list[np.ndarray] = []

    def update(self, priority: np.ndarray, **columns: np.ndarray) -> None:
        """Add entries whose rows come after those already seen.

        Args:
            priority: Priority of each entry; −inf is never kept.
            columns: The other fields of ENTRY.
        """
        is_candidate = priority > self.floor[columns["latent"]]
        candidates = np.flatnonzero(is_candidate)
        entries = np.empty(len(candidates), ENTRY)
        entries["priority"] = priority[candidates]
        for name, column in columns.items():
            entries[name] = column[candidates]
        self.new.append(entries)
        n_new = sum(len(entries) for entries in self.new)
        if n_new >= max(MERGE_AT, len(self.kept)):
            self.merge()

    def merge(self) -> np.ndarray:
        """Merge new entries into the kept ones; return these by latent and descending priority."""
        # sorting structured arrays in numpy needs 30 % less memory than the same in pandas
        entries = np.concatenate([self.kept, *self.new])
        entries = _take_best_per_document(entries)
        order = np.lexsort((entries["row"], -entries["priority"], entries["latent"]))
        entries = entries[order]
        rank = _rank_in_group(entries["latent"])
        last = entries[rank == self.n - 1]
        self.floor[last["latent"]] = last["priority"]
        self.kept = entries[rank < self.n]
        self.new = []
        return self.kept


def _take_best_per_document(entries: np.ndarray) -> np.ndarray:
    """Return each latent's entry of largest priority per document; the first row of equal ones."""
    # one key instead of two: latent in the upper 32 bits, document in the lower ones
    document_key = entries["latent"].astype(np.int64) << 32 | entries["document"]
    # lexsort is stable and rows rise, so the first row comes first among equals
    order = np.lexsort((-entries["priority"], document_key))
    return entries[order[is_group_start(document_key[order])]]


def is_group_start(column: np.ndarray) -> np.ndarray:
    """Tell at which places of a sorted column a new value begins; true at 0."""
    starts = np.ones(len(column), bool)
    starts[1:] = column[1:] != column[:-1]
    return starts


def _rank_in_group(column: np.ndarray) -> np.ndarray:
    """Return each entry's place among equal entries of a sorted column, from 0."""
    place = np.arange(len(column))
    group_start = np.maximum.accumulate(np.where(is_group_start(column), place, 0))
    return place - group_start
