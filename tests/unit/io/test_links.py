import os

import pytest

from crosscoder.errors import UserError
from crosscoder.io.files import read_bytes
from crosscoder.io.links import require_all_inside, require_inside, require_own_file
from tests.helpers.spoiling import message_of


def test_a_path_that_leads_out_of_its_folder_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results").symlink_to(tmp_path)
    (folder / "own").mkdir()
    (folder / "link").symlink_to(folder / "own")
    for path in (folder / "results", folder / "results" / "diff.json", folder / ".." / "a"):
        with pytest.raises(UserError, match="leads out of its folder"):
            require_inside(folder, path)
    assert (
        require_inside(folder, folder / "link" / "a.json") == (folder / "own" / "a.json").resolve()
    )


def test_links_of_the_hubs_cache_may_lead_to_their_repository(tmp_path):
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40) / "folder"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../../blobs/abc")
    (snapshot / "secret").symlink_to(tmp_path / "secret")
    assert (
        require_inside(snapshot, snapshot / "config.json")
        == (repository / "blobs" / "abc").resolve()
    )
    with pytest.raises(UserError, match="leads out of its folder"):
        require_inside(snapshot, snapshot / "secret")


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(UserError, match=r"cannot read .*a: Too many levels of symbolic links"):
        read_bytes(tmp_path / "a")
    assert (
        len(message_of(lambda: require_inside(tmp_path, tmp_path / "a")).splitlines()) <= 1
    )  # as Python has it


def test_a_link_anywhere_in_a_folder_is_found(tmp_path):
    folder = tmp_path / "run"
    (folder / "wandb" / "deep").mkdir(parents=True)
    (folder / "latest").symlink_to("wandb")
    require_all_inside(folder)
    (folder / "wandb" / "deep" / "logs").symlink_to(tmp_path)
    require_all_inside(folder, unseen=["wandb"])
    with pytest.raises(UserError, match=r"deep/logs leads out of its folder"):
        require_all_inside(folder)
    (folder / "logs").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"run/logs leads out of its folder"):
        require_all_inside(folder, unseen=["wandb", "logs"])


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_written_in_place_is_a_file_of_its_own(kind, tmp_path):
    path, target = tmp_path / ".lock", tmp_path / "mine"
    target.write_text("mine")
    require_own_file(path)
    {
        "link": lambda: path.symlink_to(target),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    with pytest.raises(UserError, match=rf"\.lock: it is a {kind}"):
        require_own_file(path)
