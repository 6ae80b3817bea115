import json

import numpy as np
import pytest

from crosscoder.evals import Result
from crosscoder.io.run_dir import Run
from crosscoder.report.html.page import write_report
from crosscoder.report.html.section import assign_colours
from crosscoder.report.html.sections import SECTIONS, build_sections
from crosscoder.report.inputs import Inputs
from tests.helpers.report_run import interventions, latent_table, write_run
from tests.unit.report.html.test_page import Page, page_of

PLOTS = {
    "behaviour": ["behaviour-rate", "behaviour-contrast", "behaviour-factors"],
    "ablation": ["ablation-sweep", "ablation-cost"],
    "steering": ["steering-contrast", "steering-rate"],
    "patching": ["patching", "patching-base"],
    "equivalence": ["equivalence"],
    "methods": ["methods-ranks", "methods-removal"],
    "compare": ["compare-quality", "compare-classes"],
    "stability": [],
}
WITHOUT_ANSWERS = ("patching", "equivalence", "methods", "compare", "stability")


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    found = interventions(latent_table(64, np.random.default_rng(0)))
    return {result.name: result for result in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return write_run(tmp_path_factory.mktemp("sections") / "run", n_latents=64, n_contexts=2)


def drawn(result: Result, name: str) -> dict:
    made = build_sections({result.name: result}, ["chat", "base"])[result.name]
    return next(plot for plot in made.plots if plot.name == name).to_json()


def traces(result: Result, name: str) -> dict[str, dict]:
    """Return the named traces of a plot."""
    return {one["name"]: one for one in drawn(result, name)["data"] if "name" in one}


def test_every_section_is_drawn_with_its_plots(run):
    page = page_of(run)
    ids = [attributes.get("id") for _, attributes in page.tags]
    places = [ids.index(name) for name in PLOTS]
    assert places == sorted(places)
    for name, plots in PLOTS.items():
        assert all(page.json(f"figure-{plot}")["data"] for plot in plots)
        assert (f"answers-{name}" in page.scripts) == (name not in WITHOUT_ANSWERS)
    for words in (
        "5 questions, 23,787 held-out tokens, 210 s",
        "5 answers, 730 tokens, 33 s",
        "5 questions, 61 s",
    ):
        assert words in page.text


@pytest.mark.parametrize("name", PLOTS)
def test_a_section_without_its_result_is_absent(name, tmp_path):
    run = write_run(tmp_path / "run", n_latents=16, n_contexts=2)
    run.result_path(name).unlink()
    page = page_of(run)
    assert name not in [attributes.get("id") for _, attributes in page.tags]
    assert not set(page.scripts) & {f"figure-{plot}" for plot in PLOTS[name]}
    assert f"#{name}" not in [attributes.get("href") for _, attributes in page.tags]
    others = set(PLOTS) - {name}
    assert others <= {attributes.get("id") for _, attributes in page.tags}


@pytest.mark.parametrize("name", PLOTS)
def test_sections_are_drawn_without_a_table_of_latents(name, results, tmp_path):
    run = Run(tmp_path / "run")
    results[name].save(run.results)
    page = page_of(run)
    assert name in [attributes.get("id") for _, attributes in page.tags]
    assert not [
        a for tag, a in page.tags if tag == "a" and a.get("href", "").startswith("#latent-")
    ]
    assert ("plotly" in page.scripts) == bool(PLOTS[name])


def spoilt(tables: dict) -> list[dict]:
    """Return tables of other shapes."""
    return [
        {},
        {name: [] for name in tables},
        {name: [{}] for name in tables},
        {name: [{"other": [1, {"a": None}]}] for name in tables},
        {name: [dict.fromkeys(row) for row in rows] for name, rows in tables.items()},
        {name: [dict.fromkeys(row, "text") for row in rows] for name, rows in tables.items()},
        {name: [dict.fromkeys(row, 3) for row in rows] for name, rows in tables.items()},
        {name: [dict.fromkeys(row, float("inf")) for row in rows] for name, rows in tables.items()},
        {
            name: [{k: row[k] for k in list(row)[:2]} for row in rows]
            for name, rows in tables.items()
        },
        {
            name: [row | {"new": i, "": None} for i, row in enumerate(rows)]
            for name, rows in tables.items()
        },
        {name: rows[:1] for name, rows in tables.items()},
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", PLOTS)
def test_results_of_other_shapes_are_drawn_or_left_out(name, results, tmp_path):
    for number, tables in enumerate(spoilt(results[name].tables)):
        run = Run(tmp_path / str(number))
        Result(
            name,
            {"odd/figure": float("nan")},
            tables,
            {"groups": number, "seconds": None, "n_questions": []},
        ).save(run.results)
        page = page_of(run)
        for script in (
            script for script in page.scripts if script.startswith(("figure-", "answers-"))
        ):
            page.json(script)
        assert "odd" in page.text


def test_an_invalid_result_is_refused_by_name(tmp_path):
    run = Run(tmp_path)
    run.results.mkdir()
    for content in (
        [],
        {"name": "x", "scalars": []},
        {"name": "x", "scalars": {}, "tables": {"a": {"b": 1}}},
    ):
        (run.results / "ablation.json").write_text(json.dumps(content))
        with pytest.raises(Exception, match=r"ablation\.json is not the result of an eval"):
            write_report(run)


def test_plots_show_the_values_of_the_tables(results):
    rates = traces(results["behaviour"], "behaviour-rate")
    assert rates["chat"]["y"] == [0.84, 0.0, 0.2]
    assert rates["chat"]["error_y"]["array"] == pytest.approx([0.08] * 3)
    assert rates["chat"]["marker"]["color"] == "var(--first)"
    assert drawn(results["behaviour"], "behaviour-rate")["layout"]["xaxis"]["ticktext"] == [
        "novice",
        "expert",
        "neutral",
    ]
    assert rates["base"]["x"] != rates["chat"]["x"]  # beside each other
    patches = traces(results["patching"], "patching")
    assert list(patches) == ["all tokens", "first 9 tokens"]
    assert patches["all tokens"]["x"][:4] == [1.4, 0.2, 1.1, 0.7]


def test_the_share_closed_has_a_ceiling_and_a_floor(results):
    plot = drawn(results["patching"], "patching-base")
    bars, floor = plot["data"]
    assert bars["x"] == [0.97, 0.9, 0.05, 0.3, 0.4, 0.6]
    assert bars["error_x"]["arrayminus"] == pytest.approx([0.05] * 6)
    assert floor["x"] == [0.5, 0.1, 0.2]
    assert floor["y"] == [3, 4, 5]
    assert plot["layout"]["yaxis"]["ticktext"][3:] == ["shared (48)", "rewritten (8)", "top 20"]
    assert [line["x0"] for line in plot["layout"]["shapes"]] == [0.97]


def test_equivalence_is_drawn_against_cosine_beside_the_published_medians(results):
    result = results["equivalence"]
    rows = {row["latent"]: row for row in result.tables["latents"]}
    section = build_sections({result.name: result}, ["chat", "base"])[result.name]
    figure = section.plots[0].figure
    found = {}
    for trace in figure.data:
        assert {rows[latent]["verdict"] for latent in trace.customdata} == {trace.name}
        points = zip(trace.x, trace.y, strict=True)
        found |= dict(zip(trace.customdata, points, strict=True))
    assert found == {
        latent: (row["cosine"], row["CE"]) for latent, row in rows.items() if row["CE"] == row["CE"]
    }
    assert len(found) == len(rows) - 1
    cosine, ce = figure.layout.shapes
    assert (cosine.x0, ce.y0) == (0.965, 0.616)


def test_a_comparison_has_points_only_for_models_that_a_dictionary_reads(results):
    fves = traces(results["compare"], "compare-quality")
    assert fves["fve/base"]["x"] == [0.965, 0.967, 0.967, 0.954]
    assert fves["fve/chat"]["x"] == [0.963, 0.944, 0.921]
    kin = traces(results["compare"], "compare-classes")
    assert (
        "latents" not in drawn(results["compare"], "compare-classes")["layout"]["yaxis"]["ticktext"]
    )
    assert kin["chat-specific"]["marker"]["color"] == "var(--first)"
    assert kin["shared"]["marker"]["color"] == "var(--shared)"
    span = [max(one["y"][0] for one in kin.values()), min(one["y"][0] for one in kin.values())]
    assert span[0] - span[1] < 1  # all of a name nearer to it than to the next


def test_the_sweep_axis_is_logarithmic_and_unedited_models_span_it(results):
    sweep = traces(results["ablation"], "ablation-sweep")
    assert sweep["candidates"]["x"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert sweep["chat, expert"]["x"] == [0, 7]
    assert sweep["chat, expert"]["y"] == [-0.8, -0.8]
    axis = drawn(results["ablation"], "ablation-sweep")["layout"]["xaxis"]
    assert axis["ticktext"] == ["0", "1", "2", "4", "8", "16", "32", "64"]
    bands = [
        one
        for one in drawn(results["ablation"], "ablation-sweep")["data"]
        if one.get("fill") == "toself"
    ]
    assert len(bands) == len(sweep)


def test_an_intervention_without_values_has_a_row_but_no_point(results, run):
    names = [
        note["text"]
        for note in drawn(results["ablation"], "ablation-cost")["layout"]["annotations"]
    ]
    assert len(names) == 10
    assert "splice, nothing ablated" not in names
    row = page_of(run).text.partition("splice, nothing ablated")[2].split()
    assert row[:2] == ["–", "–"]


def test_steering_curves_have_both_signs_and_pass_through_the_unedited_model(results):
    lines = traces(results["steering"], "steering-contrast")
    assert len(lines) == 8
    assert all(line["x"] == [-0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2] for line in lines.values())
    assert lines["base, random latents"]["y"][3] == lines["base, latents"]["y"][3]
    panels = drawn(results["steering"], "steering-rate")
    assert [one.get("yaxis", "y") for one in panels["data"]].count("y2") == 2
    assert panels["layout"]["yaxis2"]["domain"][1] < panels["layout"]["yaxis"]["domain"][0]


def test_arms_latents_and_compared_prompts_are_tables_of_steering(run):
    section = Inputs(run).sections["steering"]
    assert [grid.table for grid in section.grids] == ["arms", "latents", "prompt spans"]
    text = page_of(run).text
    for words in ("effect", "other sign", "token_triggered", "▁def ▁<b> :", "128 of 792"):
        assert words in text


def test_our_rows_are_highlighted_and_latents_are_linked(run):
    page = page_of(run)
    assert [attributes.get("class") for tag, attributes in page.tags if tag == "tr"].count(
        "marked"
    ) == 3
    links = [
        attributes["href"] for tag, attributes in page.tags if tag == "a" and "href" in attributes
    ]
    assert links.count("#latent-15") == 1


def test_tables_of_a_section_are_not_repeated_under_evals(run):
    inputs, text = Inputs(run), page_of(run).text
    assert inputs.sections["ablation"].tables == {
        "interventions",
        "margins",
        "latents",
        "prompt spans",
        "answers",
    }
    assert text.count("decoder norm@16") == 2  # as an intervention, and in the margins
    assert (
        text.count("changed by framing") == 8
    )  # of the sweep, which is a plot above and a table among the evals


def test_answers_stay_text(run):
    html = write_report(run).read_text(encoding="utf-8")
    assert "window.hacked=2</script>" not in html
    page = Page(html)
    first = page.json("answers-behaviour")[0]["blocks"]
    assert [block["label"] for block in first] == [
        "asked as novice",
        "asked as expert",
        "asked as neutral",
    ]
    assert first[0]["answers"][1][0] == "chat"
    assert "</script><script>window.hacked=2</script>" in first[0]["answers"][1][1]
    assert len(page.json("answers-behaviour")) == 5
    doses = page.json("answers-steering")[4]["blocks"]
    assert [block["label"] for block in doses] == ["chat, steered", "base, steered"]
    assert [name for name, _ in doses[1]["answers"]] == [
        f"latents × {x}" for x in ("-0.2", "-0.1", "-0.05", "0", "0.05", "0.1", "0.2")
    ]


def test_models_without_a_compared_pair_have_colours():
    assert assign_colours(["a", "b"], []) == {"a": "first", "b": "second"}
    assert assign_colours(["other", "base"], ["chat", "base"])["base"] == "second"
    assert assign_colours(["other"], ["chat", "base"])["other"] not in ("first", "second")
    assert len(set(assign_colours([f"m{i}" for i in range(7)], []).values())) == 7


def test_stability_says_what_varied_and_leaves_the_columns_of_latents_to_their_table(results, run):
    section = build_sections(results, ["chat", "base"])["stability"]
    assert "vary the initial directions and the order of the tokens" in section.note
    assert [grid.table for grid in section.grids] == ["classes", "unmatched"]
    unknown = Result("stability", {}, results["stability"].tables, {"varied": 3})
    assert (
        "vary the order of the tokens"
        in build_sections({"stability": unknown}, [])["stability"].note
    )
    text = page_of(run).text
    assert "cos² of random latents" in text
    assert "matched_cosine" not in text


def test_every_eval_with_a_section_has_a_made_up_result(results):
    assert set(SECTIONS) == set(results) == set(PLOTS)
