"""Texts of the page: a sentence for every verdict and score, and the look of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosscoder.analysis.calibration import read_fdr


@dataclass(frozen=True)
class Verdict:
    """Look of a verdict, the same on the whole page.

    Args:
        name: Name of the verdict.
        colour: Variable of the style sheet.
        sign: Character in front of the name.
        symbol: plotly's name of that sign.
        meaning: Sentence that explains the verdict.
    """

    name: str
    colour: str
    sign: str
    symbol: str
    meaning: str


@dataclass(frozen=True)
class Score:
    """Column of the table of latents.

    Args:
        column: Name in the table.
        label: Name on the page.
        style: Style of its numbers: `score`, `percent` or `number`.
        meaning: Sentence that explains the score.
    """

    column: str
    label: str
    style: str
    meaning: str


COMMON_VERDICTS = (
    Verdict(
        "rewritten",
        "rewritten",
        "◆",
        "diamond",
        "One trigger, two effects: its two decoders point in different directions.",
    ),
    Verdict("shared", "shared", "●", "circle", "Both models have it and write the same thing."),
    Verdict(
        "shrunk",
        "shrunk",
        "■",
        "square",
        "Looks exclusive, but the other model's unexplained activation holds it: "
        "an artefact of training.",
    ),
    Verdict(
        "decoupled",
        "decoupled",
        "✚",
        "cross",
        "Looks exclusive, but other latents write it into the other model: an artefact.",
    ),
    Verdict(
        "undetermined",
        "undetermined",
        "○",
        "circle-open",
        "Too few tokens, or too wide an interval, for a decision.",
    ),
    Verdict("dead", "dead", "×", "x-thin-open", "Never active on the held-out tokens."),
)
COMMON_SCORES = (
    Score("density", "density", "percent", "Fraction of tokens on which the latent is active."),
    Score("max", "max", "number", "Its largest activation on the held-out tokens."),
    Score(
        "template_share",
        "template",
        "percent",
        "Fraction of its activation on the chat template: turn markers and role names.",
    ),
)


def describe_calibration(meta: Mapping[str, Any]) -> str:
    """Return a sentence on what the verdict of specific latents rests on."""
    fdr = read_fdr(meta)
    if fdr is None:
        return (
            "Not calibrated: the published thresholds decide which latents are specific, and their "
            "error rate on these activations is unknown. eval=nulls measures it."
        )
    return (
        f"Calibrated: latents are specific at a false-discovery rate of {fdr:.3g}, measured with "
        "features that were planted into these activations."
    )


def list_verdicts(
    diff_pair: Sequence[str], found: Iterable[str] = (), fdr: float | None = None
) -> list[Verdict]:
    """List every verdict on latents of a compared pair, and further ones that were found.

    Args:
        diff_pair: The compared sources; may be empty.
        found: Verdicts that were found.
        fdr: False-discovery rate of specific latents; None if the verdict is not calibrated.
    """
    verdicts = [*_specific_verdicts(diff_pair, fdr), *COMMON_VERDICTS]
    known = {verdict.name for verdict in verdicts}
    for name in sorted(set(found) - known):
        verdicts.append(Verdict(name, "undetermined", "○", "circle-open", ""))
    return verdicts


def list_scores(diff_pair: Sequence[str], prompt_contrasts: Iterable[str] = ()) -> list[Score]:
    """List the scores of a latent in the order of the list's columns."""
    scores = [*_difference_scores(diff_pair), *COMMON_SCORES]
    for name in prompt_contrasts:
        meaning = (
            "Mean difference of its activation between two sets of prompts; "
            "p after Holm's correction is in the card."
        )
        scores.append(Score(name, name, "number", meaning))
    return scores


def _specific_verdicts(diff_pair: Sequence[str], fdr: float | None) -> list[Verdict]:
    if not diff_pair:
        return []
    a, b = diff_pair
    meaning = (
        "Only {0} needs it: {1}'s decoder is near zero, "
        "and the data show no trace of its direction in {1}."
    )
    if fdr is not None:
        meaning = (
            "Only {0} has it: at most "
            f"{fdr:.3g} of these latents are expected to be in "
            "{1}, too, weakly or elsewhere."
        )
    return [
        Verdict(f"{a}-specific", "first", "▲", "triangle-up", meaning.format(a, b)),
        Verdict(f"{b}-specific", "second", "▼", "triangle-down", meaning.format(b, a)),
    ]


def _difference_scores(diff_pair: Sequence[str]) -> list[Score]:
    if not diff_pair:
        return []
    a, b = diff_pair
    range_of_norms = f"1 = writes into {a} only, ½ = into both alike, 0 = into {b} only."
    range_of_nu = f"0 = absent there, 1 = as present as in {a}."
    return [
        Score(
            "difference_share",
            "difference",
            "percent",
            f"Fraction of E‖x_{a} − x_{b}‖² that the latent writes by itself.",
        ),
        Score("delta_norm", "Δ", "score", f"½ (1 + (‖d_{a}‖ − ‖d_{b}‖) / max). {range_of_norms}"),
        Score("relative_norm", "R", "score", f"‖d_{a}‖ / (‖d_{a}‖ + ‖d_{b}‖). {range_of_norms}"),
        Score(
            "cosine",
            "cosine",
            "score",
            "Cosine of its two decoders. 1 = the same direction, 0 = unrelated.",
        ),
        Score(
            f"nu/reconstruction/{a}",
            "ν^r",
            "score",
            f"How much of its {a} direction other latents write into {b}. {range_of_nu}",
        ),
        Score(
            f"nu/error/{a}",
            "ν^ε",
            "score",
            f"How much of its {a} direction {b}'s unexplained activation holds. {range_of_nu}",
        ),
    ]
