"""Rules that call a latent exclusive to one of the two compared sources."""

from collections.abc import Callable
from functools import partial

import numpy as np

from crosscoder.analysis.columns.norms import PUBLISHED
from crosscoder.analysis.columns.presence import EXCLUSIVE
from crosscoder.analysis.table import LatentTable

# the latents that a rule calls exclusive to each source, as masks [rows] by source
Calls = dict[str, np.ndarray]
Rule = Callable[[LatentTable], Calls]


def exclusive_rules(diff_pair: tuple[str, str]) -> dict[str, Rule]:
    """Return rules that call a latent exclusive to one of two sources.

    They are our verdict, the latent's presence in the other source, and every published rule on
    decoder norms.
    """
    rules: dict[str, Rule] = {
        "verdict": partial(call_by_verdict, diff_pair=diff_pair),
        "presence": partial(_call_by_presence, diff_pair=diff_pair),
    }
    for paper, rule in PUBLISHED.items():
        rules[rule.describe()] = partial(_call_by_norms, paper=paper, diff_pair=diff_pair)
    return rules


def call_by_verdict(table: LatentTable, diff_pair: tuple[str, str]) -> Calls:
    """Call the latents that the verdict calls specific."""
    return {source: table["verdict"] == f"{source}-specific" for source in diff_pair}


def _call_by_presence(table: LatentTable, diff_pair: tuple[str, str]) -> Calls:
    alive = ~table["dead"]
    return {source: (table[f"presence/{source}"] < EXCLUSIVE) & alive for source in diff_pair}


def _call_by_norms(table: LatentTable, paper: str, diff_pair: tuple[str, str]) -> Calls:
    alive = ~table["dead"]
    category = table[f"category/{paper}"]
    return {source: (category == f"{source}-only") & alive for source in diff_pair}


def count_calls(calls: Calls) -> int:
    """Return the number of latents that are called exclusive to either source."""
    return int(np.logical_or.reduce(list(calls.values())).sum())


def exclusive_rate(calls: Calls, table: LatentTable) -> float:
    """Return the fraction of live latents that are called exclusive to either source."""
    n_alive = int((~table["dead"]).sum())
    return count_calls(calls) / max(1, n_alive)
