"""Compare two prompts: which latents differ between them, and change the models' difference most.

    score_j = |mean f_j(first) − mean f_j(second)| · ‖d_j^chat − d_j^base‖

Means are over the tokens of the user's text. A latent that is equally active in both prompts, or
that both models write alike, has a score of 0.
"""

from typing import Any

from crosscoder.core.model import Crosscoder
from crosscoder.explore.read_prompt import PromptReading, compute_mean, measure_writing

N_SHOWN = 20


def compare_readings(
    crosscoder: Crosscoder, first: PromptReading, second: PromptReading
) -> list[dict[str, Any]]:
    """Return a row for each latent with the largest scores, largest first."""
    means = (compute_mean(first), compute_mean(second))
    written = measure_writing(crosscoder)
    score = (means[0] - means[1]).abs() * written
    rows = []
    for latent in score.topk(min(N_SHOWN, len(score))).indices.tolist():
        if not score[latent] > 0:
            break
        row = {
            "latent": latent,
            "first": float(means[0][latent]),
            "second": float(means[1][latent]),
            "writes": float(written[latent]),
            "score": float(score[latent]),
        }
        rows.append(row)
    return rows
