"""What differs between the sources: the LatentTable, examples of every latent, and a summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crosscoder.diff.analysis import Analysis
from crosscoder.diff.contexts import Contexts
from crosscoder.diff.lens import lens
from crosscoder.diff.norms import PUBLISHED
from crosscoder.diff.prompts import PromptContrast
from crosscoder.diff.table import LatentTable
from crosscoder.diff.verdict import count
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.ranking import framing_weight

SHOWN = ("latent", "verdict", "difference_share", "delta_norm", "cosine", "density", "template_share")
ORDERS = {"energy": ("difference_energy", False), "cosine": ("cosine", True)}


@dataclass(frozen=True)
class DiffEval:
    """Writes `latents.parquet` and `contexts.parquet` beside its result.

    Args:
        analysis: makes the table.
        contexts: examples per latent: from plain text, from chats, and from all its activity at random for the quantiles.
        promoted: how many tokens each latent promotes, by logit lens.
        contrasts: prompt pairs whose difference becomes a column.
        top: rows of the tables that are printed.
    """

    analysis: Analysis
    contexts: int = 5
    promoted: int = 10
    contrasts: Sequence[PromptContrast] = ()
    top: int = 12

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        crosscoder, pair = subject.crosscoder, subject.pair
        contexts = Contexts(crosscoder.n_latents, self.contexts, seed=subject.seed)
        table = self.analysis(crosscoder, subject.heldout, [contexts])
        strings = pair.tokenizers[pair.leader].convert_ids_to_tokens if pair else None
        examples = LatentTable(contexts.frame(crosscoder, subject.heldout, strings), table.meta)
        if pair:
            # prompts are compared where a template asks for the answer, which is no two tokenizers' alike
            contrasts = [contrast for contrast in self.contrasts if not pair.aligned and pair.tokenizer.chat_template]
            table = table.with_columns(
                *(contrast(crosscoder, pair) for contrast in contrasts), lens(crosscoder, pair, self.promoted)
            )
        meta = table.meta | {"seconds": time.perf_counter() - start}
        files = {"latents.parquet": table, "contexts.parquet": examples}
        return Result("diff", summary(table), self._tables(table), meta, files)

    def _tables(self, table: LatentTable) -> dict[str, list[dict[str, Any]]]:
        if "verdict" not in table.columns:
            return {}
        shown = [column for column in SHOWN if column in table.columns]
        best = table.top("difference_share", self.top).rows()
        tables = {"by difference energy": [{column: row[column] for column in shown} for row in best]}
        tables["published"] = published(table)
        for name in table.prompt_contrasts:
            tables[name] = self._by_contrast(table, name)
        return tables

    def _by_contrast(self, table: LatentTable, name: str) -> list[dict[str, Any]]:
        """The latents by which the two models treat two kinds of prompts differently, |contrast| · ‖d_chat − d_base‖, and their
        ranks in orders that need no labels.
        """
        first = table.meta["contrast"][0]
        orders = ORDERS | {"Δ": ("delta_norm", False), "ν^ε": (f"nu/error/{first}", True)}
        ranks = {f"by {order}": table.rank(*by) for order, by in orders.items()}
        best = table.frame.assign(weight=framing_weight(table, name)).nlargest(self.top, "weight")
        return [
            {
                "latent": row["latent"],
                name: row[name],
                "Holm": row[f"{name}/holm"],
                "verdict": row["verdict"],
                "delta_norm": row["delta_norm"],
                "cosine": row["cosine"],
                **{order: rank[row["latent"]] for order, rank in ranks.items()},
            }
            for row in best.to_dict("records")
        ]


def summary(table: LatentTable) -> dict[str, float]:
    """`count/<verdict>`, and how the explained difference divides."""
    scalars: dict[str, float] = {"dead_fraction": float(table["dead"].mean())}
    if "verdict" not in table.columns:
        return scalars
    counts = count(table["verdict"], table.meta["contrast"])
    scalars = {f"count/{name.replace('-', '_')}": number for name, number in counts.items()} | scalars
    return scalars | table.meta["difference"]


def published(table: LatentTable) -> list[dict[str, Any]]:
    """How many live latents each published rule calls what."""
    alive = table.query("not dead")
    first, second = table.meta["contrast"]
    return [
        {
            "rule": rule.describe(),
            **{
                name: int((alive[f"category/{paper}"] == name).sum())
                for name in (f"{first}-only", f"{second}-only", "shared")
            },
        }
        for paper, rule in PUBLISHED.items()
    ]
