"""Measure how far another dictionary, or the activations that it reads, explain our latents.

A ridge regression is fitted on some tokens, its penalty is chosen on others, and R² is measured on
the last ones. See analysis/matching/regression.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosscoder.analysis.matching.cofiring import Cofiring, stack_codes
from crosscoder.analysis.matching.regression import Matrix, explain_by_ridge
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.storage.common_tokens import restrict_to_common_tokens
from crosscoder.errors import NotApplicable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.encoding import load_acts, read_acts, read_codes
from crosscoder.evals.support.reference import open_reference_stores


@dataclass(frozen=True)
class TokenRange:
    """The same tokens in two stores.

    Args:
        ours: Store with the sources of our crosscoder.
        theirs: Store with the sources of the reference.
        low: First token.
        high: Token after the last one.
    """

    ours: Store
    theirs: Store
    low: int
    high: int


def measure_explained(
    context: EvalContext, reference: Crosscoder, heldout: Store, n_fit: int, n_regressors: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Measure R² of each of our latents by the reference's code and by the activations it reads.

    Args:
        context: Context of the eval, with our crosscoder.
        reference: The other dictionary.
        heldout: Held-out store with the reference's sources.
        n_fit: Number of tokens of our training store that the regression is fitted on.
        n_regressors: Number of the reference's latents, those that correlate most with any of ours.

    Returns:
        Columns `r2` and `r2/activations`, and how the regression was fitted.

    Raises:
        NotApplicable: There are too few tokens.
    """
    ours = context.crosscoder
    ranges = _split_tokens(context, reference, heldout, n_fit)
    _require_tokens(ours, ranges)
    targets = [stack_codes(read_codes(ours, one.ours, one.low, one.high)) for one in ranges]
    codes = [stack_codes(read_codes(reference, one.theirs, one.low, one.high)) for one in ranges]
    if reference.n_latents > n_regressors:
        strongest = _find_strongest(targets[0], codes[0], n_regressors)
        codes = [code[:, strongest] for code in codes]
    acts = [load_acts(one.theirs, reference.sources, one.low, one.high) for one in ranges]
    columns: dict[str, np.ndarray] = {}
    penalties: dict[str, float] = {}
    for name, regressors in {"r2": codes, "r2/activations": acts}.items():
        fit, choose, score = _pair_up(regressors, targets)
        columns[name], penalties[name] = explain_by_ridge(fit, choose, score)
    n_tokens, n_columns = codes[0].shape  # type: ignore[misc]
    return columns, {"fitted_on": n_tokens, "regressors": n_columns, "penalty": penalties}


def _split_tokens(
    context: EvalContext, reference: Crosscoder, heldout: Store, n_fit: int
) -> list[TokenRange]:
    """Return the tokens to fit on, to choose the penalty on, and to score on.

    If the activations that ours was trained on are gone, all three are held-out tokens.
    """
    try:
        fit, choose = _open_training_tokens(context, reference, n_fit)
    except NotApplicable:
        return _split_heldout(context.heldout, heldout)
    return [fit, choose, TokenRange(context.heldout, heldout, 0, len(context.heldout))]


def _open_training_tokens(
    context: EvalContext, reference: Crosscoder, n_fit: int
) -> tuple[TokenRange, TokenRange]:
    """Return tokens that ours was trained on, and tokens that its threshold was fitted on."""
    ours = context.crosscoder
    train, validation, _ = context.open_stores()
    sizes = {
        "fit": (train, min(n_fit, len(train))),
        "choose": (validation, min(len(validation), len(context.heldout))),
    }
    others = open_reference_stores(context, reference, sizes)
    exclude = read_figure_exclude(ours.provenance, reference.provenance)
    ranges = {}
    for name, (store, size) in sizes.items():
        own, other = restrict_to_common_tokens(
            (store, ours.sources), (others[name], reference.sources), exclude
        )
        ranges[name] = TokenRange(own, other, 0, size)
    return ranges["fit"], ranges["choose"]


def _split_heldout(ours: Store, theirs: Store) -> list[TokenRange]:
    """Split held-out tokens at whole sequences; the last third is scored."""
    n_tokens = len(ours)
    first = int(0.55 * n_tokens) // ours.seq_len * ours.seq_len
    second = int(0.67 * n_tokens) // ours.seq_len * ours.seq_len
    return [
        TokenRange(ours, theirs, 0, first),
        TokenRange(ours, theirs, first, second),
        TokenRange(ours, theirs, second, n_tokens),
    ]


def _require_tokens(ours: Crosscoder, ranges: Sequence[TokenRange]) -> None:
    exclude = read_figure_exclude(ours.provenance)
    for one in ranges:
        batches = read_acts(one.ours, ours.sources, one.low, one.high, exclude)
        if not any(len(acts) for acts in batches):
            raise NotApplicable(
                f"there are too few tokens in {one.ours.folder} to fit a regression on"
            )


def _find_strongest(ours: Any, theirs: Any, n: int) -> np.ndarray:
    """Return the numbers of the reference's latents that correlate most with any of ours."""
    correlation = Cofiring.from_codes(ours, theirs).correlation
    largest = np.asarray(correlation.max(axis=0).todense()).ravel()
    return np.sort(np.argsort(-largest, kind="stable")[:n])


def _pair_up(
    regressors: Sequence[Matrix], targets: Sequence[Matrix]
) -> list[tuple[Matrix, Matrix]]:
    return list(zip(regressors, targets, strict=True))
