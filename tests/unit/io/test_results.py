"""Results beside a crosscoder: uploaded with it, found in its folder, downloaded when asked for."""

import shutil
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest

from crosscoder.analysis.parquet import save_parquet
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.io.own_paths import find_paths
from crosscoder.io.run_dir import Run
from crosscoder.report.current import find_crosscoder_sha256
from tests.helpers.small import crosscoder_of


@pytest.fixture
def crosscoder() -> Crosscoder:
    return crosscoder_of(TopK(4))


@pytest.fixture
def evaluated(crosscoder, tmp_path) -> Run:
    """Write a run with a table of latents, contexts and a report, all of which name paths."""
    run = Run(tmp_path / "me" / "RUN")
    crosscoder.provenance = {"train": f"{tmp_path}/me/store"}
    crosscoder.save_pretrained(run.crosscoder)
    meta = {"crosscoder_sha256": find_crosscoder_sha256(run), "store": f"{tmp_path}/me/store"}
    LatentTable.from_columns({"density": [0.5] * 24}, meta).save(run.table_path("latents"))
    save_parquet(pd.DataFrame({"latent": [3]}), run.table_path("contexts"), meta)
    run.config.write_text(f"harvest: {{root: {tmp_path}/me/cache}}\nfiles: ['/elsewhere/x&y']\n")
    page = f"<pre>{run.folder}: {tmp_path}/me/cache, /elsewhere/x&amp;y</pre>"
    run.report.write_text(f"{page}<script>a=1/elsewhere/x&y</script>")
    return run


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """Return the folder that stands for the repository someone/crosscoder on the hub."""
    commit = tmp_path / "models--someone--crosscoder" / "snapshots" / "abc"
    shown = tmp_path / "hub"

    class StubHub:
        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
            assert (repo, private, exist_ok) == ("someone/crosscoder", True, True)

        def upload_folder(self, repo_id: str, folder_path: str | Path) -> str:
            shutil.copytree(folder_path, shown)
            return f"https://hub/{repo_id}"

    def download(repo: str, revision: str | None, allow_patterns: list[str], **_) -> str:
        assert (repo, revision in (None, "abc")) == ("someone/crosscoder", True)
        for name in allow_patterns:
            (commit / name).parent.mkdir(parents=True, exist_ok=True)
            if (shown / name).exists():
                shutil.copyfile(shown / name, commit / name)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "HfApi", StubHub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return shown


def test_results_are_uploaded_beside_the_weights_if_asked(evaluated, hub):
    loaded = Crosscoder.from_pretrained(evaluated.folder)
    loaded.push_to_hub("someone/crosscoder", results=True)
    files = {path.relative_to(hub).as_posix() for path in hub.rglob("*.*")}
    assert files == {
        "README.md",
        "config.json",
        "model.safetensors",
        "report.html",
        "results/latents.parquet",
        "results/contexts.parquet",
    }
    card = (hub / "README.md").read_text()
    assert "- crosscoder\n" in card
    assert "- model-diffing\n" in card
    assert 'LatentTable.from_pretrained("someone/crosscoder")' in card


def test_uploaded_results_belong_to_the_uploaded_crosscoder_and_name_no_paths(
    evaluated, hub, tmp_path
):
    Crosscoder.from_pretrained(evaluated.folder).push_to_hub("someone/crosscoder", results=True)
    table = LatentTable.load(hub / "results" / "latents.parquet")
    assert table.meta == {"crosscoder_sha256": find_crosscoder_sha256(Run(hub))}
    assert table.meta != LatentTable.load(evaluated.table_path("latents")).meta
    for path in hub.rglob("*.*"):
        assert str(tmp_path).encode() not in path.read_bytes()
    page = "<pre>RUN: cache, x&amp;y</pre><script>a=1/elsewhere/x&y</script>"
    assert (hub / "report.html").read_text() == page


def test_results_are_downloaded_when_they_are_asked_for(evaluated, hub, tmp_path):
    Crosscoder.from_pretrained(evaluated.folder).push_to_hub("someone/crosscoder", results=True)
    loaded = Crosscoder.from_pretrained("someone/crosscoder")
    cached = tmp_path / "models--someone--crosscoder" / "snapshots" / "abc"
    assert not (cached / "results").exists()
    assert loaded.find_file("results/contexts.parquet").exists()
    assert not (cached / "results" / "latents.parquet").exists()
    assert list(LatentTable.from_pretrained("someone/crosscoder")["density"]) == [0.5] * 24


def test_results_are_found_in_a_run_folder(evaluated):
    for place in (evaluated.folder, evaluated.crosscoder):
        assert len(LatentTable.from_pretrained(place)) == 24
    found = Crosscoder.from_pretrained(evaluated.folder).find_file("report.html")
    assert found == evaluated.report.resolve()


def test_missing_results_are_one_line(crosscoder, evaluated, hub, tmp_path):
    Crosscoder.from_pretrained(evaluated.folder).push_to_hub("someone/crosscoder")
    assert not (hub / "results").exists()
    with pytest.raises(UserError, match=r"has no results/latents\.parquet"):
        LatentTable.from_pretrained("someone/crosscoder")
    with pytest.raises(UserError, match="evaluate the run with eval="):
        LatentTable.from_pretrained(hub)
    with pytest.raises(UserError, match="not loaded from a folder"):
        crosscoder.find_file("report.html")
    with pytest.raises(UserError, match="loaded from a run folder"):
        crosscoder.push_to_hub("someone/crosscoder", results=True)
    evaluated.table_path("latents").unlink()
    with pytest.raises(UserError, match="evaluate with eval="):
        crosscoder.push_to_hub("someone/crosscoder", results=evaluated.folder)


def test_results_of_another_crosscoder_are_not_uploaded(evaluated, hub):
    table = LatentTable.load(evaluated.table_path("latents"))
    other = table.meta | {"crosscoder_sha256": "ab"}
    LatentTable(table.frame, other).save(evaluated.table_path("latents"))
    with pytest.raises(UserError, match="about another crosscoder"):
        Crosscoder.from_pretrained(evaluated.folder).push_to_hub("someone/crosscoder", results=True)
    assert not hub.exists()


def test_a_link_out_of_a_folder_is_no_result(evaluated, tmp_path):
    (tmp_path / "secret").write_text("secret")
    evaluated.report.unlink()
    evaluated.report.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="leads out of its folder"):
        Crosscoder.from_pretrained(evaluated.folder).find_file("report.html")


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("root: /home/me/x", {"/home/me/x"}),
        ("[~/a, '/b c/d']", {"~/a", "/b"}),
        ("weights: google/gemma", set()),
        ("url: https://there/is/none", set()),
        ("1 / 2", set()),
    ],
)
def test_paths_are_found_in_a_configuration(text, paths):
    assert find_paths(text) == paths
