"""Stores restricted to common tokens, so that two dictionaries are measured on the same ones."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from crosscoder.core.sources import Sources
from crosscoder.data.storage.store import Store


class RestrictedStore(Store):
    """A store with only some of its tokens eligible.

    Args:
        store: The store that is read.
        is_selected: Mask of the tokens that may be eligible; those beyond its end are not.
    """

    def __init__(self, store: Store, is_selected: Bool[Tensor, "tokens"]) -> None:
        super().__init__(store.folder)
        self.is_selected = torch.zeros(len(store), dtype=torch.bool)
        self.is_selected[: len(is_selected)] = is_selected

    def find_eligible(
        self, shard: int, names: Sequence[str], exclude: Sequence[str]
    ) -> Bool[Tensor, "batch"]:
        start = sum(self.counts[:shard])
        is_selected = self.is_selected[start : start + self.counts[shard]]
        return super().find_eligible(shard, names, exclude) & is_selected


def restrict_to_common_tokens(
    first: tuple[Store, Sources], second: tuple[Store, Sources], exclude: Sequence[str]
) -> tuple[RestrictedStore, RestrictedStore]:
    """Restrict two stores of the same tokens to those that are eligible in both.

    Args:
        first: A store, and the sources that are read from it.
        second: The other store with its sources; one of the two may hold more tokens.
        exclude: Kinds of tokens to exclude.
    """
    first_mask = _find_all_eligible(*first, exclude)
    second_mask = _find_all_eligible(*second, exclude)
    n = min(len(first_mask), len(second_mask))
    common = first_mask[:n] & second_mask[:n]
    return RestrictedStore(first[0], common), RestrictedStore(second[0], common)


def _find_all_eligible(store: Store, sources: Sources, exclude: Sequence[str]) -> Tensor:
    masks = [store.find_eligible(shard, sources.names, exclude) for shard in store]
    return torch.cat(masks)
