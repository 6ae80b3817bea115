"""Crosscoders in the hub's cache, where every file is a link to the repository's blobs."""

from pathlib import Path

import pytest

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import load
from crosscoder.io.run_dir import Run
from crosscoder.report.current import find_crosscoder_sha256
from tests.helpers.hub import COMMIT, running
from tests.helpers.small import crosscoder_of as small_crosscoder


@pytest.fixture
def snapshot(tmp_path, monkeypatch) -> Path:
    """Put a crosscoder into the cache: at the top of a repository and in a run folder."""
    monkeypatch.chdir(tmp_path)
    saved = small_crosscoder(ReLU()).save_pretrained(tmp_path / "saved")
    files = {name: (saved / name).read_bytes() for name in ("config.json", "model.safetensors")}
    with running(tmp_path / "cache") as hub:
        hub.files["owner/model"] = files | {
            f"crosscoder/{name}": content for name, content in files.items()
        }
        assert Crosscoder.from_pretrained("owner/model").n_latents == 24
        assert load("hf://owner/model").n_latents == 24
    return tmp_path / "cache" / "models--owner--model" / "snapshots" / COMMIT


def test_links_to_the_repositorys_blobs_are_followed(snapshot):
    assert (snapshot / "config.json").is_symlink()
    assert load(snapshot).n_latents == 24
    assert Crosscoder.from_pretrained(snapshot).n_latents == 24
    assert find_crosscoder_sha256(Run(snapshot)) is not None


def test_links_to_other_places_are_refused(snapshot, tmp_path):
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(tmp_path / "saved" / "config.json")
    with pytest.raises(UserError, match="leads out of its folder"):
        load(snapshot)
