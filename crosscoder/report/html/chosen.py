"""Tables that ablation and steering share: the latents, and the prompts that chose them."""

from crosscoder.analysis.spans import PROMPT_SPANS
from crosscoder.evals import Result
from crosscoder.report.html.section import Grid
from crosscoder.report.shapes import select_rows

TOKENS_NOTE = (
    "top tokens: those on which the latent is most active on held-out text. token_effect: how much "
    "three of them, inserted into unrelated text, raise the latent's activity, in units of how "
    "much the two kinds of prompts differ; from 1 on the latent is token_triggered, and may be "
    "about these words instead of the behaviour. injection d: the same rise in standard "
    "deviations (Cohen's d)."
)
SPANS_NOTE = (
    "The prompts whose activity was compared: pairs of about equal length were preferred, and as "
    "many tokens are read of both prompts of a pair. Numbers of tokens are means."
)


def build_chosen_grids(result: Result, title: str, note: str = "") -> list[Grid]:
    """Build the table of the latents, and that of the prompts on which they were chosen.

    Args:
        result: Result of ablation or steering.
        title: Heading of the latents.
        note: Text above them, before the note on their tokens.
    """
    latents = select_rows(result, "latents")
    parts = [note]
    if any("token_effect" in row for row in latents):
        parts.append(TOKENS_NOTE)
    return [
        Grid("latents", title, latents, " ".join(filter(None, parts))),
        Grid(PROMPT_SPANS, "Compared prompts", select_rows(result, PROMPT_SPANS), SPANS_NOTE),
    ]
