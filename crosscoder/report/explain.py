"""What the page says in words: one sentence for every verdict and score, and how each is drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """A verdict's look, the same everywhere: colour (a variable of the style sheet), sign, and plotly's name of that sign."""

    name: str
    colour: str
    sign: str
    symbol: str
    meaning: str


@dataclass(frozen=True)
class Score:
    """A column of the table: its label, how it is written (`score`, `share`, `number`), and what it says."""

    column: str
    label: str
    style: str
    meaning: str


def verdicts(contrast: Sequence[str], seen: Iterable[str] = ()) -> list[Verdict]:
    """Every verdict on a contrast's latents, and any others that were seen."""
    known = []
    if contrast:
        a, b = contrast
        specific = "Only {0} needs it: {1}'s decoder is near zero, and the data show no trace of its direction in {1}."
        known += [
            Verdict(f"{a}-specific", "first", "▲", "triangle-up", specific.format(a, b)),
            Verdict(f"{b}-specific", "second", "▼", "triangle-down", specific.format(b, a)),
        ]
    known += [
        Verdict("rewritten", "rewritten", "◆", "diamond", "One trigger, two effects: the decoders point apart."),
        Verdict("shared", "shared", "●", "circle", "Both models have it and write the same thing."),
        Verdict(
            "shrunk",
            "shrunk",
            "■",
            "square",
            "Looks exclusive, but the other model has it, unexplained: an artefact of training.",
        ),
        Verdict(
            "decoupled",
            "decoupled",
            "✚",
            "cross",
            "Looks exclusive, but other latents write it into the other model: an artefact.",
        ),
        Verdict(
            "undetermined", "undetermined", "○", "circle-open", "Too few tokens, or too wide an interval, to tell."
        ),
        Verdict("dead", "dead", "×", "x-thin-open", "Never active on the held-out tokens."),
    ]
    names = {verdict.name for verdict in known}
    return known + [Verdict(name, "undetermined", "○", "circle-open", "") for name in sorted(set(seen) - names)]


def scores(contrast: Sequence[str], prompt_contrasts: Iterable[str] = ()) -> list[Score]:
    """What can be said about a latent, in the order of the list's columns."""
    between = []
    if contrast:
        a, b = contrast
        ends = f"1 = writes into {a} only, ½ = into both alike, 0 = into {b} only."
        present = "0 = absent there, 1 = as present as in"
        between = [
            Score(
                "difference_share",
                "difference",
                "share",
                f"Share of E‖x_{a} − x_{b}‖² that the latent writes by itself.",
            ),
            Score("delta_norm", "Δ", "score", f"½ (1 + (‖d_{a}‖ − ‖d_{b}‖) / max). {ends}"),
            Score("relative_norm", "R", "score", f"‖d_{a}‖ / (‖d_{a}‖ + ‖d_{b}‖). {ends}"),
            Score("cosine", "cosine", "score", "Of the two decoders. 1 = the same direction, 0 = unrelated."),
            Score(
                f"nu/reconstruction/{a}",
                "ν^r",
                "score",
                f"How far other latents write its {a} direction into {b}. {present} {a}.",
            ),
            Score(
                f"nu/error/{a}",
                "ν^ε",
                "score",
                f"How far {b}'s unexplained activation holds its {a} direction. {present} {a}.",
            ),
        ]
    return [
        *between,
        Score("density", "density", "share", "Share of tokens on which the latent is active."),
        Score("max", "max", "number", "Its largest activation on the held-out tokens."),
        Score(
            "template_share",
            "template",
            "share",
            "Share of its activation on a chat's template: turn markers, role names.",
        ),
        *(
            Score(
                name,
                name,
                "number",
                "Mean difference of its activation between two sets of prompts; p after Holm in the card.",
            )
            for name in prompt_contrasts
        ),
    ]
