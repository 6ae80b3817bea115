import base64
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.evals import Result
from crosscoder.io.run_dir import Run
from crosscoder.report import __main__ as command
from crosscoder.report.html.page import write_report
from tests.helpers.report_run import write_run


class Page(HTMLParser):
    """Scripts and text of a page, as a browser parses them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.text, self.tags, self.at = "", [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        self.at = dict(attrs).get("id", "code") if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.at = None

    def handle_data(self, data):
        if self.at is None:
            self.text += data
        else:
            self.scripts[self.at] = self.scripts.get(self.at, "") + data

    def json(self, name: str):
        return json.loads(self.scripts[name])


def page_of(run: Run) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return write_run(tmp_path_factory.mktemp("report") / "run", n_latents=300, n_contexts=4)


@pytest.fixture(scope="module")
def page(run) -> Page:
    return page_of(run)


def test_everything_is_in_one_file(page, run):
    assert not [tag for tag, attributes in page.tags if "src" in attributes]
    assert not [a for tag, a in page.tags if tag == "link" and not a["href"].startswith("data:")]
    assert not list(run.folder.glob("*.tmp"))


def test_the_summary_shows_null_controls_next_to_the_counts(page, run):
    text = re.sub(r"\s+", " ", page.text)
    count = int(
        (LatentTable.load(run.results / "latents.parquet")["verdict"] == "chat-specific").sum()
    )
    assert f"no trace of its direction in base. {count} " in text
    for words in (
        "noise reseed shares the domain shuffled planted",
        "0.020 % called exclusive under noise",
        "recall",
        "64 %",
        "71 %",
    ):
        assert words in text


def test_the_page_says_whether_the_verdict_is_calibrated(page, tmp_path):
    assert "Not calibrated: the published thresholds decide" in page.text
    assert "shares the domain" in page.text  # in the header of the control `reseed`
    run = write_run(tmp_path)
    table = LatentTable.load(run.table_path("latents"))
    table.meta["calibration"] = {"fdr": 0.05}
    table.save(run.table_path("latents"))
    calibrated = page_of(run).text
    assert "specific at a false-discovery rate of 0.05" in calibrated
    assert "at most 0.05 of these latents are expected to be in base" in calibrated
    assert "Not calibrated" not in calibrated


def test_header_evals_and_run_are_shown(page):
    for words in (
        "chat versus base",
        "resid_post.9",
        "23,787",
        "0.881",
        "0 – 0.0001",
        "gemma-3-270m + expertise/adapter",
        "<tiny>",
    ):
        assert words in page.text


def test_every_verdict_and_score_is_explained(page):
    for verdict in page.json("about")["verdicts"].values():
        assert verdict["meaning"] in page.text
    for score in page.json("about")["scores"]:
        assert score["meaning"] in page.text
    assert "1 = writes into chat only, ½ = into both alike, 0 = into base only" in page.text


def test_the_page_opens_with_what_finetuning_changed(page):
    text = page.text
    assert text.index("What finetuning changed") < text.index("of the difference's variance")
    assert "The crosscoder explains 88 % of the models' difference." in text
    assert "Not calibrated (eval=nulls)" in text


def test_tables_beside_the_page_are_linked_and_columns_explained(page):
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert {"results/latents.parquet", "results/contexts.parquet"} <= links
    assert page.json("about")["meanings"]["max"] == "Largest activation."


def test_the_loss_is_linear_and_the_fve_of_the_difference_is_drawn(page):
    loss = page.json("figure-loss")["layout"]["yaxis"]
    assert loss.get("type") != "log"
    assert loss["range"][0] == 0
    names = [trace["name"] for trace in page.json("figure-fve")["data"]]
    assert names == ["base", "chat", "difference"]


def test_no_text_of_the_data_becomes_markup(page, run):
    assert "</script><script>window.hacked=1</script>" in page.json("vocabulary")
    scripts = [attributes.get("id") for tag, attributes in page.tags if tag == "script"]
    assert scripts.count(None) == 12  # the page's own
    assert "window.hacked" not in page.scripts["code"]


def test_plots_show_published_thresholds(page):
    names = {
        attributes["data-figure"] for _, attributes in page.tags if "data-figure" in attributes
    }
    assert names > {
        f"figure-{n}"
        for n in ("delta_norm", "relative_norm", "cosine", "nu", "difference", "loss", "fve")
    }
    lines = [shape["x0"] for shape in page.json("figure-delta_norm")["layout"]["shapes"]]
    assert lines == pytest.approx([0.1, 0.4, 0.6, 0.9])
    traces = {trace["name"] for trace in page.json("figure-nu")["data"]}
    assert "chat-specific" in traces
    assert "dead" not in traces


def test_contexts_are_packed_with_their_latents(page, run):
    counts = [
        base64.b64decode(page.json(f"contexts-{i}")["counts"]["data"]) for i in range(2)
    ]  # a byte per latent
    alive = ~LatentTable.load(run.results / "latents.parquet")["dead"]
    assert list(b"".join(counts)) == (4 * alive).tolist()
    assert [len(chunk) for chunk in counts] == [256, 44]
    assert "contexts-2" not in page.scripts


@pytest.mark.parametrize(
    "missing",
    [
        "results/contexts.parquet",
        "curves.json",
        "config.yaml",
        "metrics.json",
        "crosscoder/config.json",
    ],
)
def test_a_missing_file_removes_its_section(missing, tmp_path):
    run = write_run(tmp_path / "run", n_latents=16, n_contexts=2)
    (run.folder / missing).unlink()
    page = page_of(run)
    assert ("contexts-0" in page.scripts) == ("contexts" not in missing)
    assert ("figure-loss" in page.scripts) == ("curves" not in missing)
    assert ("config.yaml" in page.text) == (missing != "config.yaml")
    assert ("metrics.json" in page.text) == ("metrics" not in missing)


def test_without_a_table_only_evals_are_shown(tmp_path):
    run = Run(tmp_path / "run")
    Result("reconstruction", {"fve/base": 0.5, "odd": float("nan")}).save(run.results)
    page = page_of(run)
    assert "0.500" in page.text
    assert "–" in page.text
    assert "about" not in page.scripts
    assert "plotly" not in page.scripts


def test_a_run_without_a_compared_pair_has_no_difference_scores(tmp_path):
    run = Run(tmp_path / "run")
    columns = {
        "dead": [False, True],
        "density": [0.1, 0.0],
        "norm/base": [1.0, 0.5],
        "max": [2.0, 0.0],
    }
    LatentTable.from_columns(columns, {"sources": ["base"], "contrast": None, "n_tokens": 10}).save(
        run.results / "latents.parquet"
    )
    page = page_of(run)
    assert [score["column"] for score in page.json("about")["scores"]] == ["density", "max"]
    assert page.json("about")["verdicts"] == {}


def test_a_run_without_results_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    for arguments, message in (
        ([str(tmp_path)], "python evaluate.py crosscoder="),
        ([], "usage"),
        (["nowhere"], "no run at nowhere"),
    ):
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_file_that_is_not_a_result_is_named(tmp_path):
    run = Run(tmp_path)
    run.results.mkdir()
    for text in ("{", '{"numbers": 1}'):
        (run.results / "odd.json").write_text(text)
        with pytest.raises(UserError, match=r"odd\.json is not the result of an eval"):
            write_report(run)


@pytest.mark.long
def test_the_command_prints_the_file_and_opens_it(run, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "argv", ["report", str(run.folder), "--open"])
    command.main()
    path = run.folder / "report.html"
    assert f"{path}, {path.stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out
    assert opened == [path.resolve().as_uri()]
