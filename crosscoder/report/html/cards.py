"""Cards of latents for a document: figures and contexts of the diff eval's first latents."""

import math
from typing import Any

import pandas as pd

from crosscoder.analysis.parquet import load_contexts
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run
from crosscoder.lm.readable_tokens import make_readable
from crosscoder.report.current import require_current
from crosscoder.values import is_whole

N_CARDS = 5
N_CONTEXTS = 3
FIGURES = {
    "Δ": "delta_norm",
    "cosine": "cosine",
    "density": "density",
    "share of the difference": "difference_share",
}
LENSES = {"tokens/difference": "Logit lens", "jacobian_tokens/difference": "Jacobian lens"}


def format_cards(run: Run) -> str:
    """Return Markdown about the first latents of the table's first prompt contrast.

    Raises:
        UserError: The run has no latents, or the table lacks a column or a latent.
    """
    path = run.table_path("latents")
    if not path.exists():
        raise UserError(
            f"no latents at {run.folder}; "
            f"make them with {name_command('evaluate')} crosscoder={run.folder} eval=[diff]"
        )
    table = LatentTable.load(path)
    contexts, _ = load_contexts(run.table_path("contexts"))
    require_current(path.name, table.meta, run)
    if not table.prompt_contrasts:
        raise UserError(f"{path} has no contrast of prompts")
    contrast = table.prompt_contrasts[0]
    rows = table.frame.set_index("latent", drop=False)
    latents = _find_first_latents(run, contrast)
    for latent in latents:
        if latent not in rows.index:
            raise UserError(f"{path} has no latent {latent}, which the diff eval names")
    for column in (*FIGURES.values(), "verdict"):
        if column not in rows:
            raise UserError(f"{path} has no column '{column}'")
    cards = [_format_card(row, contrast, contexts) for row in rows.loc[latents].to_dict("records")]
    return "\n\n".join(cards)


def _find_first_latents(run: Run, contrast: str) -> list[int]:
    """Return the latents that the diff eval lists first for a prompt contrast."""
    path = run.result_path("diff")
    rows = Result.load(path).tables.get(contrast, [])[:N_CARDS]
    if not rows or not all(is_whole(row.get("latent")) for row in rows):
        raise UserError(f"{path} has no table '{contrast}' of latents")
    return [row["latent"] for row in rows]


def _format_card(row: dict[str, Any], contrast: str, contexts: pd.DataFrame) -> str:
    figures = ", ".join(
        f"{name} {_format_figure(row[column], '.3g')}" for name, column in FIGURES.items()
    )
    holm = _format_figure(row[f"{contrast}/holm"], ".2g")
    difference = f"{contrast} {_format_figure(row[contrast], '+.3g')}, Holm {holm}"
    lines = [f"- **Latent {row['latent']}**, {row['verdict']}: {difference}; {figures}."]
    for column, lens in LENSES.items():
        if column in row:
            tokens = make_readable(list(row[column]))
            promoted = " ".join(f"`{token.strip()}`" for token in tokens)
            lines.append(f"  {lens}: the difference of its decoders promotes {promoted}  ")
    lines.append("")
    for context in _find_top_contexts(row["latent"], contexts):
        lines.append(f"  > {_format_context(context)}  ")
    return "\n".join(lines)


def _format_figure(value: float, style: str) -> str:
    """Format a figure; one that is undefined is a dash."""
    return "–" if math.isnan(value) else format(value, style)


def _find_top_contexts(latent: int, contexts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a latent's contexts with the largest activations."""
    is_top = (contexts["latent"] == latent) & contexts["group"].str.startswith("top")
    found = contexts.loc[is_top].to_dict("records")
    found.sort(key=lambda context: -max(context["activations"]))
    return found[:N_CONTEXTS]


def _format_context(context: dict[str, Any]) -> str:
    """Return a context with its peak in bold."""
    tokens = []
    for token in make_readable(list(context["tokens"])):
        tokens.append(token.replace("*", "\\*").replace("<", "\\<"))
    peak = context["peak"]
    before = "".join(tokens[:peak])
    after = "".join(tokens[peak + 1 :])
    token = tokens[peak]
    space = " " if token.startswith(" ") else ""
    return f"{before}{space}**{token.strip()}**{after}".strip()
