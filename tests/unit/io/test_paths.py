"""What is a path, and what an id on the hub."""

import pytest

from crosscoder.io.paths import looks_like_path


@pytest.mark.parametrize(
    "name", ["outputs/x", "outputs", "./x", "../x", "/x", "~/x", "a/b/c", "folder/missing", "."]
)
def test_names_of_folders_are_paths_even_if_they_do_not_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert looks_like_path(name)


@pytest.mark.parametrize("name", ["owner/name", "owner/name/", "name", "x" * 300 + "/y", "a\0/b"])
def test_names_of_repositories_are_no_paths(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not looks_like_path(name)
