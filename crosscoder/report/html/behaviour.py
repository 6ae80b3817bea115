"""Section of the behaviour eval."""

from collections.abc import Sequence

from crosscoder.evals import Result
from crosscoder.report.html.answers import read_answers
from crosscoder.report.html.figures import THRESHOLD
from crosscoder.report.html.intervals import Point, Series, draw_points
from crosscoder.report.html.plots import Plot
from crosscoder.report.html.section import Grid, Section, assign_colours
from crosscoder.report.shapes import Columns, Row, merge_intervals, select_rows
from crosscoder.report.terminal.tables import format_coverage, list_columns

NOTE = (
    "Every model answers the same questions, asked in several ways. If finetuning made the model "
    "treat askers differently, its answers differ between the ways of asking and those of the "
    "other model do not; without such a gap there is nothing for latents to explain."
)
RATE_NOTE = (
    "Fraction of greedy answers that show the behaviour, with 95 % intervals over questions."
)
LOGPROB_NOTE = (
    "How much more likely the start of an answer with the behaviour is than the start of one "
    "without (contrast in the tables). Above 0 the model leans towards the behaviour."
)
FACTORS_NOTE = (
    "The same difference when one factor varies at a time: a gap between low and high is the "
    "effect of that factor alone."
)
WORDS_NOTE = (
    "AUROC of separating two ways of asking: ½ is chance, 1 perfect. TF-IDF uses the words of the "
    "prompt alone; a model is scored by how far it leans. If a model separates what TF-IDF cannot, "
    "it reacts to more than the choice of words."
)
RATE_TABLE_COLUMNS = ("model", "asked as")
LOGPROB = ("contrast", "contrast low", "contrast high")
LEVEL_LOGPROB = ("contrast", "low", "high")


def build_behaviour_section(result: Result, diff_pair: Sequence[str]) -> Section:
    """Draw rates and log-probability differences, factors, the word control and the answers."""
    rows = select_rows(result, "rates", RATE_TABLE_COLUMNS)
    rate = _name_rate_columns(rows)
    words = select_rows(result, "words", ("told apart",))
    grids = [
        Grid("rates", "By model and framing", merge_intervals(rows, rate, LOGPROB)),
        Grid(
            "words",
            "Separation by words alone",
            merge_intervals(words, ("TF-IDF", "low", "high")),
            WORDS_NOTE,
        ),
    ]
    plots = [
        *_plot_rate(result, rate, diff_pair),
        *_plot_logprob(result, diff_pair),
        *_plot_factors(result, diff_pair),
    ]
    return Section(
        "behaviour",
        "Behaviour",
        NOTE,
        format_coverage(result.meta),
        plots,
        [grid for grid in grids if grid.rows],
        answers=read_answers(result),
    )


def _name_rate_columns(rows: Sequence[Row]) -> Columns:
    """Return the columns of the rate, whose name includes that of the behaviour's marker."""
    names = [name for name in list_columns(rows) if name.endswith(" rate")]
    return (names[0] if names else "rate"), "low", "high"


def _plot_rate(result: Result, rate: Columns, diff_pair: Sequence[str]) -> list[Plot]:
    rows = select_rows(result, "rates", RATE_TABLE_COLUMNS, rate[:1])
    if not rows:
        return []
    names = list(dict.fromkeys(row["asked as"] for row in rows))
    figure = draw_points(_build_series(rows, "asked as", names, rate, diff_pair), names)
    figure.update_yaxes(title="fraction of answers", range=[-0.04, 1.04], tickformat=".0%")
    return [Plot("behaviour-rate", rate[0].capitalize(), RATE_NOTE, figure)]


def _plot_logprob(result: Result, diff_pair: Sequence[str]) -> list[Plot]:
    rows = select_rows(result, "rates", RATE_TABLE_COLUMNS, LOGPROB[:1])
    if not rows:
        return []
    names = list(dict.fromkeys(row["asked as"] for row in rows))
    figure = draw_points(_build_series(rows, "asked as", names, LOGPROB, diff_pair), names)
    figure.update_yaxes(title="log-probability difference, nats")
    figure.add_hline(0, line=THRESHOLD)
    return [Plot("behaviour-contrast", "Log-probability difference", LOGPROB_NOTE, figure)]


def _plot_factors(result: Result, diff_pair: Sequence[str]) -> list[Plot]:
    rows = select_rows(result, "factors", ("model", "level"), LEVEL_LOGPROB[:1])
    if not rows:
        return []
    names = list(dict.fromkeys(row["level"] for row in rows))
    series = _build_series(rows, "level", names, LEVEL_LOGPROB, diff_pair)
    figure = draw_points(series, names, sideways=True)
    figure.update_xaxes(title="log-probability difference, nats")
    figure.add_vline(0, line=THRESHOLD)
    return [Plot("behaviour-factors", "Single factors", FACTORS_NOTE, figure, "wide")]


def _build_series(
    rows: Sequence[Row],
    name_column: str,
    names: Sequence[str],
    columns: Columns,
    diff_pair: Sequence[str],
) -> list[Series]:
    """Build one series per model, placed by the row's name."""
    colours = assign_colours([row["model"] for row in rows], diff_pair)
    points_by_model: dict[str, list[Point]] = {row["model"]: [] for row in rows}
    for row in rows:
        place = names.index(row[name_column])
        label = f"{row['model']}, {row[name_column]}"
        points_by_model[row["model"]].append(Point.from_row(row, place, label, columns))
    return [Series(model, colours[model], points) for model, points in points_by_model.items()]
