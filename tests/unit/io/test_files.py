import os
import stat

import pytest

from crosscoder.errors import UserError, WriteError
from crosscoder.io.files import (
    atomic_write,
    delete_unfinished,
    make_folders,
    read_bytes,
    replace_text,
    require_regular,
)


def test_a_file_is_written_whole_with_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.json") as aside:
            aside.unlink()
            aside.write_text("whole")
            aside.chmod(0o600)  # as safetensors leaves its files
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").read_text() == "whole"
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a.json").write_text("before")
    with pytest.raises(UnicodeEncodeError), atomic_write(tmp_path / "a.json") as aside:
        aside.write_text("half \ud800", encoding="utf-8")
    assert (tmp_path / "a.json").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "a.json").symlink_to(target)
    with atomic_write(tmp_path / "a.json") as aside:
        aside.write_text("new")
    assert target.read_text() == "mine"
    assert (tmp_path / "a.json").read_text() == "new"
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("read", [require_regular, read_bytes])
def test_what_is_no_regular_file_is_refused_without_waiting(kind, read, tmp_path):
    path = tmp_path / "shard"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=f"shard: it is a {kind}, not a file|shard: Is a directory"):
        read(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    for read in (require_regular, read_bytes):
        with pytest.raises(UserError, match=r"cannot read .*none: No such file"):
            read(tmp_path / "none")


def test_a_users_document_keeps_its_permissions_and_stays_where_its_link_leads(tmp_path):
    document, link = tmp_path / "README.md", tmp_path / "link.md"
    document.write_text("before")
    document.chmod(0o600)
    link.symlink_to(document)
    replace_text(link, "after \ud800\r\n")
    assert link.is_symlink()
    assert document.read_bytes() == b"after \\ud800\r\n"
    assert stat.S_IMODE(document.stat().st_mode) == 0o600


def test_only_what_was_not_finished_is_deleted(tmp_path):
    names = [
        "last.ckpt",
        "last.ckpt.tmp",
        "previous.ckpt.0123456789abcdef.tmp",
        "last.ckpt.0123456789abcdef.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    delete_unfinished(tmp_path, "last.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[:3])


def test_a_folder_that_cannot_be_made_is_said_to_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file"):
        make_folders(tmp_path / "file" / "below")
