"""Token ids that occur often enough in the activations at hand for a lens to name them."""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from crosscoder.data import Store
from crosscoder.data.vocabulary import count_ids
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext


def find_common_ids(
    context: EvalContext, least_count: int
) -> tuple[Bool[Tensor, "vocabulary"] | None, dict[str, Any]]:
    """Find the token ids that occur at least `least_count` times in all splits that are at hand.

    Args:
        context: Context of the eval.
        least_count: Smallest number of occurrences; 0 for every token.

    Returns:
        A mask of token ids, and what was counted. None for every token: the stores have no tokens
        to count, or `least_count` is 0.
    """
    if not least_count:
        return None, {}
    stores = list(_list_stores(context))
    counts = count_ids(stores)
    if counts is None:
        return None, {}
    is_common = counts >= least_count
    meta = {
        "least_count": least_count,
        "counted_tokens": int(counts.sum()),
        "named_tokens": int(is_common.sum()),
    }
    return is_common, meta


def _list_stores(context: EvalContext) -> Iterable[Store]:
    """List the stores of all splits, each once; those of the training may be gone."""
    try:
        stores = context.open_stores()
    except NotApplicable:
        return [context.heldout]
    return {store.folder: store for store in stores}.values()
