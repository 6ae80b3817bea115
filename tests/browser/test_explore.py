"""The page of crosscoder-explore in a real browser: by keyboard, at phone width, offline."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.explore import measure
from crosscoder.explore.__main__ import bind
from crosscoder.explore.server import serve
from crosscoder.explore.session import Session, open_session
from crosscoder.lm import Pair, load_pair
from tests.helpers.explore_run import write_explorable_run

CACHE = os.environ.get("CROSSCODER_CACHE")  # the user's, before any fixture

HOSTILE = "<img src=x onerror=window.hacked=1></textarea><script>window.hacked=1</script>"
NARROW = {"width": 390, "height": 844}
TURN = "#composer-first textarea"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, tiny_pair: Pair) -> Session:
    run = write_explorable_run(tmp_path_factory.mktemp("explore") / "run", tiny_pair)
    return open_session(str(run.folder), is_trusted=True)


@pytest.fixture(scope="module")
def address(session: Session) -> str:
    return start(session)


def start(session: Session) -> str:
    """Serve a run from a thread, and return the address."""
    found: list[str] = []
    is_ready = threading.Event()

    def announce(address: str) -> None:
        found.append(address)
        is_ready.set()

    listener: socket.socket = bind(0)
    threading.Thread(target=serve, args=(session, listener, announce), daemon=True).start()
    assert is_ready.wait(60)
    return found[0]


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page; requests to elsewhere and console messages fail the test."""
    complaints, requests = [], []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        expect(page.locator("#status")).to_have_text("ready")
        yield page
    assert complaints == []
    own = (address, "data:", "blob:")
    assert [url for url in requests if not url.startswith(own)] == []


def columns(page: Page) -> dict[str, str]:
    """Wait for the answers, and return the texts by column."""
    states = page.locator("#answer-columns .answer:not(.empty) .note")
    expect(states.first).to_have_text(re.compile("after"))
    for state in states.all():
        expect(state).to_have_text(re.compile("after"))
    found = {}
    for answer in page.locator("#answer-columns .answer:not(.empty)").all():
        found[answer.get_attribute("data-column")] = answer.locator(".text").inner_text()
    return found


def generate(page: Page, text: str = "Is this right?") -> dict[str, str]:
    page.locator(TURN).last.fill(text)
    page.locator(TURN).last.press("Enter")
    return columns(page)


def test_a_latent_is_ablated_by_keyboard_alone(page):
    expect(page.locator(TURN)).to_be_focused()  # no click is needed
    page.keyboard.type("Is this right?")
    page.keyboard.press("Enter")
    clean = columns(page)
    assert set(clean) == {"base", "chat"}
    for _ in range(200):  # Tab reaches the first latent at the side
        page.keyboard.press("Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none" or page.evaluate("document.activeElement.tagName") == "TEXTAREA"
        if label.startswith("Edit latent"):
            break
    page.keyboard.press("Enter")
    latent = label.removeprefix("Edit latent ")
    expect(page.locator("#edits li")).to_have_attribute("data-latent", latent)
    expect(page.locator("#edits input[type=range]")).to_be_focused()
    page.keyboard.press("Home")  # the smallest factor
    expect(page.locator("#edits .says")).to_have_text("reversed")
    page.locator("#generate").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer-columns .answer.empty")).to_have_count(0)
    edited = columns(page)
    assert set(edited) == {"base", "chat", "edited chat", "edited base"}
    assert {name: edited[name] for name in clean} == clean
    if edited["edited chat"] != edited["chat"]:
        assert page.locator("[data-column='edited chat'] .differs").count() > 0
    expect(page.locator("#code")).to_contain_text(f"scale_each(crosscoder, {{{latent}: -4.0}})")


def test_tokens_show_their_latents_and_what_comes_next(page):
    page.locator("#sampling summary").click()
    page.fill("#temperature", "3")  # without it the tiny models write line breaks only
    generate(page)
    pieces = page.locator("#strip-first .piece")
    pieces.nth(12).hover()
    hover = page.locator("#hover")
    expect(hover).to_contain_text("token 12, chat")
    expect(hover).to_contain_text("KL(chat ‖ base)")
    assert 1 <= hover.locator("li").count() <= 6
    pieces.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(hover).to_contain_text("token 1,")
    page.keyboard.press("Enter")
    expect(page.locator("#next-tokens tbody tr")).to_have_count(12)
    page.locator("#token-latents a").first.click()
    expect(page.locator("#card-title")).to_be_visible()
    page.locator("#card").get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("#edits li")).to_have_count(1)
    page.locator("#answer-columns .piece", has_text=re.compile(r"\w")).first.click()
    expect(page.locator("#next-tokens .marked")).to_have_count(1)
    page.locator("#colour").select_option("explained")
    expect(page.locator("#scale-high")).to_have_text("1")


def test_escape_stops_a_long_answer(page):
    page.locator("#sampling summary").click()
    page.fill("#max_new_tokens", "1024")
    page.locator(TURN).last.fill("Go on")
    page.locator(TURN).last.press("Enter")
    page.locator("#answer-columns .piece").nth(4).wait_for(state="attached")
    expect(page.locator("#stop")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#answer-columns .note").first).to_contain_text("after")
    assert page.locator("#answer-columns .piece").count() < 1000


def test_what_is_typed_is_never_html(page):
    page.get_by_role("button", name="+ system line").click()
    page.locator(f"{TURN}").first.fill(HOSTILE)
    generate(page, HOSTILE)
    shown = "".join(page.locator("#strip-first .piece").all_inner_texts())
    assert "<script>" in shown.replace("⏎", "")
    page.fill("#name", "hostile")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#saved a", has_text="hostile")).to_be_visible()
    page.reload()
    expect(page.locator(TURN).last).to_have_value(HOSTILE)
    expect(page.locator("#code")).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0


def test_two_prompts_are_compared_side_by_side(page):
    page.locator(TURN).fill("I am a novice")
    page.get_by_role("button", name="Compare two prompts").click()
    page.locator("#composer-second textarea").fill("I am an expert")
    page.get_by_role("button", name="Compare", exact=True).click()
    rows = page.locator("#comparison-table tbody tr")
    expect(rows.first).to_be_visible()
    texts = [row.locator("td.n").last.inner_text() for row in rows.all()]
    scores = [float(text.replace("−", "-")) for text in texts]
    assert scores == sorted(scores, reverse=True)
    first, second = (
        page.locator(f"#strip-{place}").bounding_box() for place in ("first", "second")
    )
    assert first["x"] + first["width"] <= second["x"]


def test_errors_are_one_line_on_the_page(page):
    page.locator(TURN).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the prompt is empty")
    page.locator(TURN).fill("x")
    page.locator("#sampling summary").click()
    page.fill("#top_p", "3")
    page.locator("#generate").click()
    expect(page.get_by_role("alert")).to_contain_text("top p is from")
    expect(page.locator("#top_p")).to_be_focused()


def test_a_phone_needs_no_horizontal_scrolling(page):
    page.set_viewport_size(NARROW)
    page.locator("#top").get_by_role("button", name=re.compile("^Edit latent")).first.click()
    generate(page)
    page.locator("#strip-first .piece").nth(5).click()
    expect(page.locator("#next-tokens tbody tr")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    for name in ("#generate", "#edits", "#strip-first", "#answer-columns"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= NARROW["width"]
    assert page.locator("#edits").bounding_box()["y"] < page.locator("#answers").bounding_box()["y"]


@pytest.fixture
def gemma(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    """Explore a crosscoder with random weights of the default pair, converted if needed."""
    if CACHE:
        monkeypatch.setenv("CROSSCODER_CACHE", CACHE)
    else:
        monkeypatch.delenv("CROSSCODER_CACHE")
    run = write_explorable_run(tmp_path / "run", load_pair("gemma3_270m"))
    return open_session(str(run.folder), is_trusted=True)


@pytest.mark.slow
def test_the_default_pair_answers_about_as_fast_as_plain_generation(browser, gemma):
    address = start(gemma)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        expect(page.locator("#status")).to_have_text("ready", timeout=600_000)
        page.locator("#top").get_by_role("button", name=re.compile("^Edit latent")).first.click()
        texts = generate(page, "Is this code correct? values = 12/0")
        assert set(texts) == {"base", "chat", "edited chat", "edited base"}
        assert all(len(text) > 5 for text in texts.values())
    found = measure(gemma, n_read=60, n_generated=32, turns=3)
    assert found["n_read"] >= 60
    # On two idle cores the limits are 1.5 s and 0.8, which `python -m benchmarks.explore` measures.
    # Here other tests run beside, on any processor.
    assert found["read_seconds"] <= 6
    assert found["edited_over_plain"] >= 0.5
    assert len(gemma.pair.models.loaded) == 2
