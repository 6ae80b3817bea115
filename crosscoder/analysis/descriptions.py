"""Descriptions of all columns of the LatentTable: `table.describe()` and docs/latent_table.md.

A new column is described here: a contract test compares this list with what conf/column writes.
Words in angle brackets stand for a name: `<source>` for a source, `<contrast>` for a comparison of
prompts, and so on. `first` and `second` are the compared sources, e.g. chat and base.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosscoder.analysis.kinds import NUMBER, TEXT, TEXTS, TRUTH, WHOLE

CONTRAST = "<contrast>"
FRACTION = "fraction, 0 to 1"
TRAINING = "training units"


@dataclass(frozen=True)
class ColumnDescription:
    """Description of a column, or of several whose names differ in the words in brackets.

    Args:
        name: Name of the column.
        kind: Kind of its values (kinds.py).
        unit: Unit of its values; "" where there is none.
        written_by: The choice in conf/column, or the eval, that writes it.
        meaning: What it says, in one sentence.
        formula: How it is computed; "" where the meaning says it.
    """

    name: str
    kind: str
    unit: str
    written_by: str
    meaning: str
    formula: str = ""

    def matches(self, column: str) -> bool:
        """Tell whether a column has this name, with any words in place of those in brackets."""
        own = self.name.split("/")
        found = column.split("/")
        if len(own) != len(found):
            return False
        pairs = zip(own, found, strict=True)
        return all(word == other or word.startswith("<") for word, other in pairs)


def _describe(written_by: str, *rows: tuple[str, ...]) -> tuple[ColumnDescription, ...]:
    """Describe the columns that one choice writes: name, kind, unit, meaning and formula."""
    described = []
    for name, kind, unit, *texts in rows:
        described.append(ColumnDescription(name, kind, unit, written_by, *texts))
    return tuple(described)


DESCRIPTIONS: tuple[ColumnDescription, ...] = (
    *_describe(
        "every table",
        ("latent", WHOLE, "index", "Index of the latent in the dictionary, from 0."),
    ),
    *_describe(
        "verdict",
        (
            "verdict",
            TEXT,
            "",
            "What the latent is: <source>-specific, shared, rewritten, shrunk, decoupled, "
            "undetermined or dead.",
            "from supported, nu, cosine, max_cross_cosine and n_active by the thresholds of "
            "rule (columns/verdict.py); with a calibration a latent is specific if its q "
            "is at most rule.fdr",
        ),
    ),
    *_describe(
        "eval nulls",
        (
            "q/<source>",
            NUMBER,
            FRACTION,
            "Smallest false-discovery rate at which the latent is called specific to the source.",
            "target–decoy competition with planted features (analysis/calibration.py)",
        ),
        (
            "verdict/published",
            TEXT,
            "",
            "The verdict by the published thresholds, which no control has calibrated.",
        ),
    ),
    *_describe(
        "norms",
        ("norm/<source>", NUMBER, TRAINING, "Norm of the decoder of one source.", "‖d^s‖"),
        (
            "relative_norm",
            NUMBER,
            FRACTION,
            "Part of the norms that is the first source's: 1 is first only, 0 second only. "
            "Lindsey et al. 2024.",
            "R = ‖d_first‖ / (‖d_first‖ + ‖d_second‖)",
        ),
        (
            "delta_norm",
            NUMBER,
            FRACTION,
            "Difference of the norms: 1 is first only, 0 second only, ½ equal norms. "
            "Minder et al. 2025.",
            "Δ = ½ (1 + (‖d_first‖ − ‖d_second‖) / max(‖d_first‖, ‖d_second‖))",
        ),
        (
            "cosine",
            NUMBER,
            "-1 to 1",
            "Cosine between the decoders of the compared sources.",
            "⟨d_first, d_second⟩ / (‖d_first‖ ‖d_second‖)",
        ),
        (
            "difference_norm",
            NUMBER,
            TRAINING,
            "Norm of the difference of the two decoders.",
            "‖d_first − d_second‖",
        ),
        (
            "category/<paper>",
            TEXT,
            "",
            "Class by a published threshold: <source>-only, shared or other.",
            "thresholds on R or Δ (core/published.py)",
        ),
    ),
    *_describe(
        "activity",
        ("dead", TRUTH, "", "Whether the latent is never active on the tokens.", "n_active = 0"),
        ("n_active", NUMBER, "tokens", "Number of tokens on which it is active.", "Σ_t [f_t > 0]"),
        (
            "density",
            NUMBER,
            FRACTION,
            "Fraction of the tokens on which it is active.",
            "n_active / n_tokens",
        ),
        (
            "density/<kind>",
            NUMBER,
            FRACTION,
            "Fraction of the tokens of one kind on which it is active: plain text, words of chats, "
            "chat template.",
        ),
        ("mean", NUMBER, "activation", "Mean activation over all tokens.", "E[f]"),
        (
            "mean_active",
            NUMBER,
            "activation",
            "Mean activation over the tokens on which it is active.",
            "E[f | f > 0]",
        ),
        (
            "spread",
            NUMBER,
            "mean_active",
            "Standard deviation of the activation where it is active, relative to its mean there.",
            "√(E[f² | f > 0] / E[f | f > 0]² − 1)",
        ),
        ("max", NUMBER, "activation", "Largest activation.", "max_t f_t"),
        (
            "template_share",
            NUMBER,
            FRACTION,
            "Fraction of the summed activation that is on tokens of the chat template.",
        ),
        (
            "position/<range>",
            NUMBER,
            FRACTION,
            "Fraction of the summed activation that is on these positions of a text.",
        ),
        (
            "histogram/<low>",
            WHOLE,
            "tokens",
            "Number of tokens whose activation is in a bin, which is named by its lower end and a "
            "factor of √2 wide.",
            "Σ_t [low ≤ f_t < √2 · low]",
        ),
    ),
    *_describe(
        "energy",
        (
            "difference_energy",
            NUMBER,
            "squared raw units",
            "Energy that the latent writes into the difference of the compared sources.",
            "E[f²] ‖δ‖², δ = d_first − d_second",
        ),
        (
            "difference_share",
            NUMBER,
            "fraction",
            "Energy that the latent writes into the difference, relative to the difference's own.",
            "E[f²] ‖δ‖² / E‖x_first − x_second‖²",
        ),
        (
            "difference_share/<kind>",
            NUMBER,
            "fraction",
            "Its fraction of the difference's energy on tokens of one kind.",
        ),
        (
            "difference_cross",
            NUMBER,
            "fraction",
            "Product of what the latent writes and what the other latents and the bias write.",
            "E[f δ · (x̂_Δ − f δ)] / E‖x_Δ‖²",
        ),
        (
            "difference_explained",
            NUMBER,
            "fraction",
            "Exact term of the latent in the explained difference.",
            "E[f δ · (2 x_Δ − x̂_Δ)] / E‖x_Δ‖²",
        ),
    ),
    *_describe(
        "twins",
        (
            "max_cross_cosine",
            NUMBER,
            "-1 to 1",
            "Largest cosine of the decoder in the source it leans to with the decoder of any "
            "other latent in the other source; missing if the latent does not lean.",
            "max_{i≠j} cos(d_j^own, d_i^other)",
        ),
        (
            "twin",
            NUMBER,
            "index",
            "Latent of the other source that writes the same direction; -1 if there is none.",
        ),
        (
            "twin_cosine",
            NUMBER,
            "-1 to 1",
            "Cosine of the two decoders; missing without a twin.",
        ),
        (
            "twin_cofiring",
            NUMBER,
            FRACTION,
            "Tokens on which both twins are active, of those on which either is.",
            "Jaccard index; missing without a twin",
        ),
    ),
    *_describe(
        "scaling",
        (
            "beta/<target>/<direction>/<model>",
            NUMBER,
            "",
            "Factor by which a decoder direction, times the activation, best fits a target of a "
            "model: its activation, its reconstruction, or the error without this latent.",
            "β = Σ_t f_t ⟨d, y_t⟩ / (Σ_t f_t² ‖d‖²)",
        ),
        (
            "nu/<target>/<direction>",
            NUMBER,
            "ratio",
            "How much of the direction the other source's target contains, relative to the own "
            "one. Minder et al. 2025.",
            "ν = β^{target, other} / β^{target, own}",
        ),
        ("nu/<target>/<direction>/low", NUMBER, "ratio", "Lower end of the 95 % interval of ν."),
        ("nu/<target>/<direction>/high", NUMBER, "ratio", "Upper end of the 95 % interval of ν."),
        (
            "supported/<source>",
            NUMBER,
            TRAINING,
            "Part of the decoder's norm that the data support.",
            "‖d^s‖ · max(0, β^{error, s})",
        ),
        ("supported/<source>/low", NUMBER, TRAINING, "Lower end of its 95 % interval."),
        ("supported/<source>/high", NUMBER, TRAINING, "Upper end of its 95 % interval."),
    ),
    *_describe(
        "presence",
        (
            "presence/<source>",
            NUMBER,
            "",
            "How much of a latent of this source the other source has; below 0.4 most latents "
            "are exclusive.",
            "max(norm ratio, 10 (ν^ε + 0.02), −2 (ν^ε + 0.02), [max_cross_cosine > 0.9])",
        ),
    ),
    *_describe(
        "eval diff",
        (
            "tokens/<source>",
            TEXTS,
            "",
            "Tokens that the decoder promotes if no layer came after it, the first one most (logit "
            "lens).",
            "top of W_U norm(d^s)",
        ),
        (
            "tokens/difference",
            TEXTS,
            "",
            "Tokens that the difference of the decoders promotes in the first model (logit lens).",
            "top of W_U norm(d_first − d_second)",
        ),
        (
            "suppressed_tokens/<source>",
            TEXTS,
            "",
            "Tokens whose logits the decoder lowers most, the first one most (logit lens).",
            "bottom of W_U norm(d^s)",
        ),
        (
            "suppressed_tokens/difference",
            TEXTS,
            "",
            "Tokens whose logits the difference of the decoders lowers most in the first model "
            "(logit lens).",
            "bottom of W_U norm(d_first − d_second)",
        ),
        (
            "jacobian_tokens/<source>",
            TEXTS,
            "",
            "Tokens that the decoder promotes through the later layers, on average over texts "
            "(Jacobian lens); of two compared sources the first one alone, unless "
            "eval.diff.jacobian_all_sources=true.",
            "top of W_U norm(J̄ d^s), J̄ the mean Jacobian to the last layer (lm/jacobian.py)",
        ),
        (
            "jacobian_tokens/difference",
            TEXTS,
            "",
            "Tokens that the difference of the decoders promotes in the first model (Jacobian "
            "lens).",
            "top of W_U norm(J̄ (d_first − d_second))",
        ),
        (
            CONTRAST,
            NUMBER,
            "activation",
            "Mean activation on the first prompts of pairs minus that on the second ones; the "
            "column has the name of the contrast.",
            "mean_i (f_i^a − f_i^b)",
        ),
        (f"{CONTRAST}/p", NUMBER, FRACTION, "p-value of a sign-flip test of that difference."),
        (f"{CONTRAST}/holm", NUMBER, FRACTION, "The same after Holm's correction."),
    ),
    *_describe(
        "eval stability",
        (
            "found_again",
            NUMBER,
            FRACTION,
            "Probability that a crosscoder of another seed has the latent: the fraction of them "
            "in which its partner's cosine is above the threshold.",
            "mean_seeds [cosine > found]",
        ),
        (
            "matched_cosine",
            NUMBER,
            "-1 to 1",
            "Mean cosine with its partners in the crosscoders of other seeds.",
            "one-to-one partners, decoders of all sources side by side",
        ),
    ),
    *_describe(
        "eval equivalence",
        (
            "causal_equivalence",
            NUMBER,
            "-1 to 1",
            "Correlation over inputs of the effects that ablating the latent has on the two "
            "compared models; missing for latents that were not drawn, or have no effect.",
            "Pearson_i(KL_first(i), KL_second(i)), KL_s(i) = KL(model s ‖ model s ablated)",
        ),
    ),
    *_describe(
        "eval explain",
        (
            "label",
            TEXT,
            "",
            "What the latent is active on, in words: written by a language model, or its "
            "distinctive words and the tokens it promotes; empty for latents without a label.",
            "",
        ),
        (
            "label_score/detection",
            NUMBER,
            FRACTION,
            "How well the label predicts which other windows of text contain activity; chance is "
            "one half.",
            "balanced accuracy (evals/explanations/scoring.py)",
        ),
        (
            "label_score/fuzzing",
            NUMBER,
            FRACTION,
            "How well the label tells windows in which the active tokens are marked from windows "
            "in which others are; chance is one half.",
            "balanced accuracy",
        ),
        (
            "label_score/intruder",
            NUMBER,
            FRACTION,
            "How often a language model finds the one of five windows without activity; no label "
            "is given, and chance is one fifth.",
            "fraction of right replies",
        ),
    ),
    *_describe(
        "evals ablation and steering",
        (
            "token_effect",
            NUMBER,
            "contrast",
            "How much a few of the latent's own tokens in unrelated text raise its activity, in "
            "units of how much the contrast does; NaN for latents that were not tested.",
            "mean over texts of (max f with tokens inserted − max f) / |mean over pairs of (max f "
            "on the first prompt − max f on the second)| (support/token_injection.py)",
        ),
        (
            "token_triggered",
            NUMBER,
            "0 or 1",
            "1 if the latent's own tokens activate it as strongly as the contrast does, which then "
            "says little about its subject; NaN for latents that were not tested.",
            "token_effect ≥ 1",
        ),
    ),
)


def find_description(column: str, columns: Sequence[str]) -> ColumnDescription | None:
    """Return the description of a column; None if there is none.

    Args:
        column: Name of the column.
        columns: Names of all columns of the table: a contrast is told by its p-values.
    """
    exact = [described for described in DESCRIPTIONS if described.name == column]
    similar = [described for described in DESCRIPTIONS if described.matches(column)]
    for described in (*exact, *similar):
        if not described.name.startswith(CONTRAST):
            return described
    contrast = column.partition("/")[0]
    is_contrast = f"{contrast}/p" in columns and f"{contrast}/holm" in columns
    return similar[0] if similar and is_contrast else None


def known_kinds() -> dict[str, str]:
    """Return the kind of every described column by its name up to the first `/`."""
    kinds = {}
    for described in DESCRIPTIONS:
        metric = described.name.partition("/")[0]
        if metric != CONTRAST:
            kinds[metric] = described.kind
    return kinds


def write_markdown(descriptions: Iterable[ColumnDescription] = DESCRIPTIONS) -> str:
    """Return the tables of docs/latent_table.md, one for each choice that writes columns."""
    by_writer: dict[str, list[ColumnDescription]] = {}
    for described in descriptions:
        by_writer.setdefault(described.written_by, []).append(described)
    parts = []
    for writer, rows in by_writer.items():
        lines = [
            f"## {_name_writer(writer)}",
            "",
            "| column | type | unit | meaning | formula |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            formula = row.formula.replace("|", "\\|")
            meaning = row.meaning.replace("<", "&lt;")
            lines.append(f"| `{row.name}` | {row.kind} | {row.unit} | {meaning} | {formula} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _name_writer(writer: str) -> str:
    is_eval = " " in writer
    return writer[0].upper() + writer[1:] if is_eval else f"`column={writer}`"
