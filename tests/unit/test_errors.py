import errno
import os

import pytest
from safetensors import SafetensorError

from crosscoder.errors import (
    UserError,
    exit_on_error,
    translate_read_errors,
    translate_write_errors,
)


class Expected(Exception):
    """An error of a library whose message users understand."""


def outcome_of(error: BaseException, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Exit code and what stands on stderr when an entry point ends like this."""

    @exit_on_error(Expected)
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code, capsys.readouterr().err.strip()


def caused_by(cause: Exception) -> Exception:
    """Return an error that another library raised because of this one."""
    try:
        try:
            raise cause
        except type(cause) as error:
            raise RuntimeError("Error in call to target\nfull_key: scale") from error
    except RuntimeError as wrapped:
        return wrapped


def test_a_users_error_is_one_line_and_exit_code_1(capsys):
    long = "no crosscoder at [red]runs/1[/red]: " + "x" * 300
    assert outcome_of(UserError(long), capsys) == (1, f"error: {long}")


@pytest.mark.faults
def test_an_error_does_nothing_to_a_terminal(capsys):
    assert outcome_of(UserError("no \x1b[31mred\u202e \ud800 [b]"), capsys) == (
        1,
        r"error: no \x1b[31mred\u202e \ud800 [b]",
    )


def test_a_users_error_inside_another_is_what_is_shown(capsys):
    assert outcome_of(caused_by(UserError("scale by rms, not 'max'")), capsys) == (
        1,
        "error: scale by rms, not 'max'",
    )


def test_an_expected_error_becomes_one_line_without_the_search_path(capsys):
    error = Expected(
        "Could not find 'data/moon'\n\nAvailable options in 'data':\n\tfiles\n"
        "Config search path:\n\tconf"
    )
    expected = "error: Could not find 'data/moon' Available options in 'data': files"
    assert outcome_of(error, capsys) == (1, expected)


@pytest.mark.faults
def test_a_full_disk_is_one_line_that_names_the_file(capsys):
    code, said = outcome_of(
        OSError(errno.ENOSPC, "No space left on device", "stores/00001.chat"), capsys
    )
    assert code == 1
    assert (
        said
        == "error: cannot write stores/00001.chat: No space left on device; complete files are kept"
    )


@pytest.mark.faults
@pytest.mark.parametrize(
    "number", [errno.EFBIG, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO]
)
def test_a_file_that_cannot_be_is_one_line(capsys, number):
    with pytest.raises(OSError) as error, translate_write_errors("run/last.ckpt"):  # noqa: PT011 (any number)
        raise OSError(number, "of the system", "elsewhere")
    code, said = outcome_of(error.value, capsys)
    assert (code, said.startswith("error: cannot write run/last.ckpt: ")) == (1, True)


@pytest.mark.faults
@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENOENT]
)
def test_a_file_that_cannot_be_read_is_not_said_to_be_written(capsys, number):
    with pytest.raises(UserError) as error, translate_read_errors("run/config.yaml"):
        raise OSError(number, "of the system", "elsewhere")
    code, said = outcome_of(error.value, capsys)
    assert (code, said) == (1, f"error: cannot read run/config.yaml: {os.strerror(number)}")


@pytest.mark.faults
def test_an_error_of_which_is_not_known_whether_it_was_reading_says_so(capsys):
    code, said = outcome_of(
        PermissionError(errno.EACCES, "of the system", "run/config.yaml"), capsys
    )
    assert (code, said) == (1, "error: cannot read or write run/config.yaml: Permission denied")


@pytest.mark.faults
def test_what_says_already_what_is_wrong_is_not_taken_for_a_disk(capsys):
    with (
        pytest.raises(UserError, match="cannot read a"),
        translate_write_errors("b"),
        translate_read_errors("a"),
    ):
        raise OSError(errno.EIO, "of the system", "a")


def test_no_home_directory_is_one_line(capsys):
    error = RuntimeError("Could not determine home directory.")
    assert "set HOME" in outcome_of(error, capsys)[1]


@pytest.mark.faults
def test_a_disk_error_is_told_whatever_a_library_makes_of_it(capsys):
    rust = SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )
    said = "error: cannot write{}: No space left on device; complete files are kept"
    assert outcome_of(rust, capsys) == (1, said.format(""))
    for error in (
        rust,
        caused_by(OSError(errno.ENOSPC, "nothing left")),
        OSError(errno.ENOSPC, "no", "a", None, "b"),
    ):
        with (
            pytest.raises(OSError, match="No space left") as named,
            translate_write_errors("stores/00001.chat"),
        ):
            raise error
        assert outcome_of(named.value, capsys) == (1, said.format(" stores/00001.chat"))
    copying = OSError(errno.ENOSPC, "No space left on device", "/tmp/aside", None, "last.ckpt")
    assert outcome_of(copying, capsys) == (1, said.format(" last.ckpt"))
    with (
        pytest.raises(SafetensorError, match="header"),
        translate_write_errors("stores/00001.chat"),
    ):
        raise SafetensorError("header too small")


@pytest.mark.faults
def test_ctrl_c_says_that_work_is_kept(capsys):
    code, said = outcome_of(KeyboardInterrupt(), capsys)
    assert code == 130
    assert "kept" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "bug", [ValueError("a bug"), OSError(errno.ENOENT, "not there"), caused_by(KeyError("x"))]
)
def test_a_bug_keeps_its_traceback(bug):
    @exit_on_error(Expected)
    def main() -> None:
        raise bug

    with pytest.raises(type(bug)):
        main()


def test_what_main_returns_is_returned():
    assert exit_on_error()(lambda: 5)() == 5
