"""The latents that an intervention uses, as its result shows them."""

from collections.abc import Sequence
from typing import Any

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.support.rankings import qualify
from crosscoder.evals.support.token_injection import Injection


def describe_latents(
    table: LatentTable, contrast: str, injections: Sequence[Injection]
) -> list[dict[str, Any]]:
    """Return a row for each latent: its columns of the table, and whether tokens trigger it.

    Args:
        table: The table of latents, with the columns of the contrast.
        contrast: Name of the contrast by which they were chosen.
        injections: The token-injection test of each latent, in the order of the rows.
    """
    columns = [
        contrast,
        f"{contrast}/holm",
        "qualifies",
        "verdict",
        "delta_norm",
        "cosine",
        "density",
        "difference_share",
    ]
    frame = table.frame.assign(qualifies=qualify(table, contrast)).set_index("latent")
    rows = []
    for injection in injections:
        own = frame.loc[[injection.latent], columns].to_dict("records")[0]
        rows.append({"latent": injection.latent, **own, **injection.make_row()})
    return rows
