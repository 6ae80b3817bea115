"""The page works in a real browser without network access and errors."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from crosscoder.analysis.table import LatentTable
from crosscoder.io.run_dir import Run
from crosscoder.report.html.pack import LATENTS_PER_CHUNK
from crosscoder.report.html.page import write_report
from crosscoder.report.html.pareto import write_pareto
from tests.helpers.report_run import equivalence, latent_table, write_run

MEGABYTES = 27
ROWS = 25  # of a page of the list


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("small"), n_latents=300))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page; network requests and console messages fail the test."""
    complaints, requests = [], []
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def latents(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#list tbody th").all_inner_texts()]


def column(page: Page, name: str) -> list[float]:
    place = page.evaluate(
        "name => listColumns.findIndex(({ column }) => column === name) + 1", name
    )
    texts = page.locator(f"#list tbody tr > :nth-child({place})").all_inner_texts()
    return [float(re.sub(r"[%,\s]", "", text).replace("−", "-")) for text in texts]


def test_plots_are_drawn_and_a_point_opens_its_latent(page, small):
    page.goto(small.as_uri())
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        expect(plot.locator(".main-svg").first).to_be_visible()
    page.locator("[data-figure=figure-nu]").scroll_into_view_if_needed()
    emit = "element => element.emit('plotly_click', { points: [{ customdata: 5 }] })"
    page.locator("[data-figure=figure-nu]").evaluate(emit)
    expect(page.locator("#card-title")).to_have_text("Latent 5")
    assert page.evaluate("window.hacked") is None


def test_the_sweep_page_draws_all_runs_and_the_front(page, tmp_path):
    rows = [
        {
            "run": str(k),
            "k": k,
            "fve/chat": 1 - 1 / k,
            "l0": float(k),
            "pareto": "front" if k % 2 else "",
        }
        for k in range(2, 9)
    ]
    write_pareto(
        tmp_path / "pareto.html",
        [*rows, {"run": "<b>", "pareto": "not finished"}],
        ["k"],
        "fve/chat",
    )
    page.goto((tmp_path / "pareto.html").as_uri())
    expect(page.locator(".plot .main-svg").first).to_be_visible()
    assert page.locator(".plot .scatterlayer .point").count() == len(rows)
    assert page.locator(".plot .textpoint").count() == 3
    assert page.locator("tbody tr").count() == len(rows) + 1


SECTIONS = {
    "behaviour": 3,
    "ablation": 2,
    "steering": 2,
    "patching": 2,
    "equivalence": 1,
    "methods": 2,
    "compare": 2,
}  # and their plots


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", SECTIONS)
def test_sections_show_with_traces_in_the_pages_colours(page, small, name, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(small.as_uri())
    page.get_by_role("link", name=name.capitalize(), exact=True).click()
    section = page.locator(f"#{name}")
    expect(section.get_by_role("heading", level=2)).to_be_in_viewport()
    plots = section.locator(".plot")
    expect(plots).to_have_count(SECTIONS[name])
    for plot in plots.all():
        plot.scroll_into_view_if_needed()
        expect(plot.locator(".main-svg").first).to_be_visible()
        assert plot.locator(".scatterlayer .trace").count() > 0
        assert not plot.evaluate(
            "element => JSON.stringify([element.data, element.layout]).includes('var(--')"
        )


def test_latents_are_plotted_on_a_page_without_the_table_of_latents(page, tmp_path):
    run = Run(tmp_path / "run")
    equivalence(latent_table(64, np.random.default_rng(0))).save(run.results)
    page.goto(write_report(run).as_uri())
    plot = page.locator("#equivalence .plot")
    plot.scroll_into_view_if_needed()
    expect(plot.locator(".main-svg").first).to_be_visible()
    assert plot.locator(".scatterlayer .point").count() == 8


def test_bands_are_transparent_and_lines_are_not(page, small):
    page.goto(small.as_uri())
    plot = page.locator("[data-figure=figure-ablation-sweep]")
    plot.scroll_into_view_if_needed()
    expect(plot.locator(".main-svg").first).to_be_visible()
    opacity = plot.locator(".scatterlayer .trace").evaluate_all(
        "all => all.map(one => Number(getComputedStyle(one).opacity))"
    )
    assert sorted(opacity) == [pytest.approx(0.13)] * 5 + [1.0] * 5


def test_labels_of_interventions_do_not_cover_each_other(page, small):
    page.goto(small.as_uri())
    plot = page.locator("[data-figure=figure-ablation-cost]")
    plot.scroll_into_view_if_needed()
    expect(plot.locator(".main-svg").first).to_be_visible()
    boxes = [label.bounding_box() for label in plot.locator(".annotation-text").all()]
    assert len(boxes) == 10
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            apart = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
            assert apart or a["y"] + a["height"] <= b["y"] + 2 or b["y"] + b["height"] <= a["y"] + 2


def test_answers_follow_the_chosen_question(page, small):
    page.goto(small.as_uri())
    answers = page.locator("#behaviour .answers")
    prompts, texts = answers.locator("blockquote"), answers.locator(".answer .text")
    expect(prompts).to_have_text(
        [f"I am a {who}.\nIs snippet 0 correct?" for who in ("novice", "expert", "neutral")]
    )
    assert answers.locator("h5").all_inner_texts() == ["base", "chat"] * 3
    assert "</script><script>window.hacked=2</script>" in texts.first.inner_text()
    answers.get_by_label("Question", exact=True).select_option(index=3)
    expect(prompts.first).to_contain_text("snippet 3")
    expect(texts.nth(1)).to_contain_text("c3")
    answers.get_by_role("button", name="Next question").click()
    expect(prompts.first).to_contain_text("snippet 4")
    expect(answers.get_by_role("button", name="Next question")).to_be_disabled()
    answers.get_by_role("button", name="Previous question").click()
    expect(answers.get_by_label("Question", exact=True)).to_have_value("3")
    expect(page.locator("#ablation .answers blockquote")).to_contain_text(
        "snippet 0"
    )  # each has its own
    assert page.locator("#steering .answers blockquote").count() == 1  # one prompt, two models
    assert page.evaluate("window.hacked") is None


def test_an_ablated_latent_opens_its_card(page, small):
    page.goto(small.as_uri())
    page.locator("#ablation a", has_text=re.compile(r"^12$")).click()
    expect(page.locator("#card-title")).to_have_text("Latent 12")


def test_sections_work_without_a_table_of_latents(page, tmp_path):
    run = write_run(tmp_path, n_latents=16, n_contexts=2)
    for name in ("latents.parquet", "contexts.parquet"):
        (run.results / name).unlink()
    page.goto(write_report(run).as_uri())
    for name, plots in SECTIONS.items():
        for plot in page.locator(f"#{name} .plot").all():
            plot.scroll_into_view_if_needed()
            expect(plot.locator(".main-svg").first).to_be_visible()
        assert page.locator(f"#{name} [data-drawn]").count() == plots
    expect(page.locator("#ablation .answer").first).to_be_visible()


def test_search_and_verdict_buttons_filter_the_list(page, small):
    page.goto(small.as_uri())
    shown = page.locator("#shown")
    expect(shown).to_have_text("1–25 of 300 latents")
    page.fill("#query", "217")
    expect(shown).to_have_text("1–1 of 1 latents")
    assert latents(page) == [217]
    page.fill("#query", "word1234")  # somewhere in a context
    expect(shown).not_to_have_text("1–1 of 1 latents")
    for latent in latents(page):
        assert "word1234" in page.evaluate("latent => textOf(rowOf.get(latent))", latent)
    marks = page.locator("#list .promotes mark")  # why each of them is shown
    assert set(marks.all_inner_texts()) == {"word1234"}
    assert marks.count() == len(latents(page))
    page.fill("#query", "nothing says this")
    expect(shown).to_have_text("0 latents")
    page.fill("#query", "")
    page.get_by_role("button", name="base-specific").click()
    expect(page.locator("#list tbody .verdict").first).to_contain_text("base-specific")
    assert set(page.locator("#list tbody .verdict").all_inner_texts()) == {"▼base-specific"}


def test_a_quoted_phrase_is_searched_exactly(page, small):
    page.goto(small.as_uri())
    line = page.evaluate("textOf(rowOf.get(0)).split('\\n').at(-1)")  # the last of its contexts
    phrase = max(line.split('"'), key=len)
    page.fill("#query", f'"{phrase}"')
    expect(page.locator("#shown")).to_have_text("1–1 of 1 latents")
    assert latents(page) == [0]
    words = phrase.split()
    page.fill("#query", f'"{" ".join(reversed(words))}"')
    expect(page.locator("#shown")).to_have_text("0 latents")


def test_a_header_sorts_and_announces_the_order(page, small):
    page.goto(small.as_uri())
    assert column(page, "difference_share") == sorted(
        column(page, "difference_share"), reverse=True
    )
    header = page.locator("#list thead th[data-column=delta_norm]")
    header.get_by_role("button").click()
    assert column(page, "delta_norm") == sorted(column(page, "delta_norm"), reverse=True)
    header.get_by_role("button").press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert column(page, "delta_norm") == sorted(column(page, "delta_norm"))
    page.get_by_role("button", name="Next ›").click()
    expect(page.locator("#shown")).to_have_text("26–50 of 300 latents")


def test_a_third_click_sorts_by_absolute_value(page, small):
    page.goto(small.as_uri())
    header = page.locator("#list thead th[data-column=expertise]")
    for _ in range(3):
        header.get_by_role("button").click()
    shown = column(page, "expertise")
    assert [abs(value) for value in shown] == sorted(map(abs, shown), reverse=True)
    assert min(shown) < 0 < max(shown)


def test_notes_are_kept_and_downloaded_and_arrow_keys_step(page, small, tmp_path):
    page.goto(f"{small.as_uri()}#latent-3")
    title = page.locator("#card-title")
    page.get_by_label("Note").fill("about recipes")
    page.keyboard.press("ArrowRight")  # moves the cursor in the note only
    expect(title).to_have_text("Latent 3")
    page.reload()
    expect(page.get_by_label("Note")).to_have_value("about recipes")
    title.focus()
    page.keyboard.press("ArrowRight")
    expect(title).not_to_have_text("Latent 3")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("Latent 3")
    page.keyboard.press("Escape")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Notes as JSON (1)").click()
    saved.value.save_as(tmp_path / "notes.json")
    assert json.loads((tmp_path / "notes.json").read_text())["notes"] == {"3": "about recipes"}
    with page.expect_download() as saved:
        page.get_by_role("button", name="This list as CSV").click()
    saved.value.save_as(tmp_path / "latents.csv")
    frame = pd.read_csv(tmp_path / "latents.csv")
    assert len(frame) == 300
    assert frame["difference_share"].is_monotonic_decreasing
    assert frame.loc[frame["latent"] == 3, "note"].item() == "about recipes"


def test_more_contexts_are_shown_on_request(page, small):
    page.goto(f"{small.as_uri()}#latent-0")
    shown = page.locator("#card .contexts li")
    expect(shown).to_have_count(15)
    page.get_by_role("button", name="5 more").first.click()
    expect(shown).to_have_count(20)


def test_an_ill_conditioned_ratio_is_marked(page, tmp_path):
    run = write_run(tmp_path, n_latents=16, n_contexts=2)
    table = LatentTable.load(run.table_path("latents"))
    ends = ["nu/error/chat", "nu/error/chat/low", "nu/error/chat/high"]
    table.frame.loc[0, ends] = [20.8, -91.3, 120.0]
    table.save(run.table_path("latents"))
    page.goto(f"{write_report(run).as_uri()}#latent-0")
    expect(page.locator("#card tr.ill")).to_have_count(1)
    expect(page.locator("#card .interval .beyond")).to_have_text("›")
    expect(page.locator("#list td.ill").first).to_have_text("20.8")


def test_a_card_shows_contexts_and_what_each_token_writes(page, small):
    page.goto(small.as_uri())
    page.fill("#query", "2")
    page.locator("#list tbody tr", has_text="shared").first.click()
    card = page.locator("#card")
    expect(card).to_be_visible()
    assert card.locator(".contexts li").count() == 15
    assert card.locator(".token.peak").count() == 15
    peak = card.locator(".token.peak").first
    assert (
        peak.evaluate("element => getComputedStyle(element).backgroundColor") != "rgba(0, 0, 0, 0)"
    )
    peak.hover()
    expect(page.locator("#tip")).to_have_text(
        re.compile(r"f = [\d.]+, writes [\d.]+ into base, [\d.]+ into chat \(training units\)")
    )
    for title in (
        "Decoder norms",
        "Latent scaling",
        "Promoted tokens",
        "Contexts",
        "Activity",
        "By published rules",
        "β",
        "Figures",
    ):
        expect(card.locator("h3", has_text=title)).to_have_count(1)
    assert card.locator(".interval .dot").count() == 6


def test_the_tooltip_shows_activation_times_norms(page, small):
    page.goto(f"{small.as_uri()}#latent-3")
    f = float(page.locator(".token").first.get_attribute("data-f"))
    base, chat = page.evaluate("['base', 'chat'].map(name => column(`norm/${name}`)[rowOf.get(3)])")
    page.locator(".token").first.focus()
    text = page.locator("#tip").inner_text()
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)]
    assert numbers == pytest.approx([f, f * base, f * chat], rel=0.01)


def test_the_address_opens_a_card_and_the_back_button_closes_it(page, small):
    page.goto(f"{small.as_uri()}#latent-123")
    title = page.locator("#card-title")
    expect(title).to_have_text("Latent 123")
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    page.locator("#list tbody a").nth(1).press("ArrowUp")
    first, second = latents(page)[:2]
    page.keyboard.press("Enter")  # on the first row, where the arrow went
    expect(title).to_have_text(f"Latent {first}")
    page.get_by_role("button", name="Next in the list").click()
    expect(title).to_have_text(f"Latent {second}")
    page.go_back()
    expect(title).to_have_text(f"Latent {first}")
    page.go_back()
    expect(page.locator("#card")).to_be_hidden()
    page.evaluate("location.hash = 'latent-999999'")
    expect(page.locator("#card")).to_be_hidden()


def test_twins_link_to_each_other(page, small):
    page.goto(f"{small.as_uri()}#latent-5")  # the one that is decoupled
    link = page.locator("#card .pairs a")
    name = link.inner_text()
    link.click()
    expect(page.locator("#card-title")).to_have_text(name.capitalize())


@pytest.mark.parametrize(
    "missing",
    [
        ("norm/base", "norm/chat"),
        ("verdict",),
        ("tokens/", "nu/", "beta/"),
        ("tokens/", "jacobian_tokens/"),
        ("density", "max", "position/"),
    ],
)
def test_cards_work_with_missing_columns(page, missing, tmp_path):
    run = write_run(tmp_path, n_latents=16, n_contexts=2)
    path = run.results / "latents.parquet"
    table = LatentTable.load(path)
    LatentTable(
        table.frame[[name for name in table.columns if not name.startswith(missing)]], table.meta
    ).save(path)
    page.goto(f"{write_report(run).as_uri()}#latent-2")
    expect(page.locator("#card-title")).to_have_text("Latent 2")
    page.locator(".token").first.focus()
    expect(page.locator("#tip")).to_contain_text("f = ")


def test_a_single_source_has_a_list_and_cards(page, tmp_path):
    run = write_run(tmp_path, n_latents=16, n_contexts=2)
    path = run.results / "latents.parquet"
    table = LatentTable.load(path)
    kept = [
        "latent",
        "dead",
        "n_active",
        "density",
        "mean_active",
        "max",
        "norm/base",
        "position/0-3",
        "tokens/base",
    ]
    LatentTable(table.frame[kept], {"sources": ["base"], "contrast": None, "n_tokens": 100}).save(
        path
    )
    page.goto(f"{write_report(run).as_uri()}#latent-2")
    expect(page.locator("#card-title")).to_have_text("Latent 2")
    assert column(page, "density") == sorted(column(page, "density"), reverse=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_take_the_pages_colours(page, small, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(small.as_uri())
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    expect(plot.locator(".main-svg").first).to_be_visible()
    drawn = plot.evaluate("element => element._fullData[0].marker.color")
    styled = page.evaluate("getComputedStyle(document.body).getPropertyValue('--bar').trim()")
    assert drawn == styled


def test_a_narrow_screen_needs_no_horizontal_scrolling(page, small):
    page.set_viewport_size({"width": 600, "height": 900})
    page.goto(f"{small.as_uri()}#latent-0")
    assert page.evaluate("document.documentElement.scrollWidth") == 600
    assert page.evaluate("document.getElementById('card').scrollWidth") <= 600


COUNT_PARSED = """
    window.parsed = 0;
    const parse = JSON.parse;
    JSON.parse = (...rest) => { window.parsed += 1; return parse(...rest); };
"""
COUNTS = """() => ({
    nodes: document.querySelectorAll("*").length,
    columns: unpacked.size,
    chunks: chunks.size,
    texts: texts.length,
    plots: document.querySelectorAll("[data-drawn]").length,
    parsed: window.parsed,
})"""


def test_the_page_of_a_large_run_does_no_more_work_than_that_of_a_small_one(page, small, tmp_path):
    n_latents, n_chunks = 4096, 4096 // LATENTS_PER_CHUNK
    large = write_report(write_run(tmp_path, n_latents=n_latents))
    assert large.stat().st_size < MEGABYTES * 1e6
    page.add_init_script(COUNT_PARSED)
    page.goto(small.as_uri())
    expected = page.evaluate(COUNTS)
    page.goto(large.as_uri())
    counts = page.evaluate(COUNTS)
    assert counts["nodes"] < expected["nodes"] + 50  # verdicts that the small run lacks
    assert {**counts, "nodes": 0} == {**expected, "nodes": 0}
    assert (counts["chunks"], counts["texts"]) == (0, 0)

    page.evaluate("location.hash = 'latent-4000'")
    expect(page.locator("#card-title")).to_have_text("Latent 4000")
    opened = page.evaluate(COUNTS)
    assert opened["chunks"] == 1
    assert opened["parsed"] == counts["parsed"] + 1
    assert opened["texts"] == 0

    # the first search reads everything once, and those after it nothing
    for word in ("recipe", "word1234"):
        page.evaluate("word => { state.query = word; update(); }", word)
        searched = page.evaluate(COUNTS)
        assert searched["texts"] == n_latents
        assert searched["parsed"] == counts["parsed"] + n_chunks
        assert page.locator("#list tbody tr").count() <= ROWS
