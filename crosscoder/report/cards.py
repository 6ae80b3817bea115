"""Latents as a reader would quote them: the first of the diff eval's contrast of prompts, with figures and a few contexts."""

from typing import Any

import pandas as pd

from crosscoder.diff.table import LatentTable, load_parquet
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.report.tokens import readable
from crosscoder.runs import Run

N_CARDS, N_CONTEXTS = 5, 3
FIGURES = {"Δ": "delta_norm", "cosine": "cosine", "density": "density", "share of the difference": "difference_share"}


def cards(run: Run) -> str:
    """The latents that the diff eval puts first for the table's first contrast of prompts."""
    path = run.results / "latents.parquet"
    if not path.exists():
        raise UserError(
            f"no latents at {run.folder}; make them with python evaluate.py crosscoder={run.folder} eval=[diff]"
        )
    table, (contexts, _) = LatentTable.load(path), load_parquet(run.results / "contexts.parquet")
    if not (contrasts := table.prompt_contrasts):
        raise UserError(f"{path} has no contrast of prompts")
    rows = table.frame.set_index("latent", drop=False)
    best = [row["latent"] for row in Result.load(run.result("diff")).tables[contrasts[0]][:N_CARDS]]
    return "\n\n".join(_card(row, contrasts[0], contexts) for row in rows.loc[best].to_dict("records"))


def _card(row: dict[str, Any], contrast: str, contexts: pd.DataFrame) -> str:
    figures = ", ".join(f"{name} {row[column]:.3g}" for name, column in FIGURES.items())
    difference = f"{contrast} {row[contrast]:+.3g}, Holm {row[f'{contrast}/holm']:.2g}"
    lines = [f"- **Latent {row['latent']}**, {row['verdict']}: {difference}; {figures}."]
    if "tokens/difference" in row:
        promoted = " ".join(f"`{token.strip()}`" for token in readable(list(row["tokens/difference"])))
        lines.append(f"  The difference of its decoders promotes {promoted}")
    top = (contexts["latent"] == row["latent"]) & contexts["group"].str.startswith("top")
    mine = contexts.loc[top].to_dict("records")
    mine.sort(key=lambda context: -max(context["activations"]))
    return "\n".join([*lines, "", *(f"  > {_quote(context)}  " for context in mine[:N_CONTEXTS])])


def _quote(context: dict[str, Any]) -> str:
    """A context with its peak set off."""
    tokens = [token.replace("*", "\\*").replace("<", "\\<") for token in readable(list(context["tokens"]))]
    peak = context["peak"]
    before, at, after = "".join(tokens[:peak]), tokens[peak], "".join(tokens[peak + 1 :])
    return f"{before}{' ' * at.startswith(' ')}**{at.strip()}**{after}".strip()
