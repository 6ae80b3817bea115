import errno

import pytest
from safetensors import SafetensorError

from crosscoder.errors import UserError, one_line, writing


class Expected(Exception):
    """An error of a library whose message users understand."""


def outcome_of(error: BaseException, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Exit code and what stands on stderr when an entry point ends like this."""

    @one_line(Expected)
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code, capsys.readouterr().err.strip()


def caused_by(cause: Exception) -> Exception:
    """An error that another library raised because of this one."""
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


def test_a_users_error_inside_another_is_what_is_shown(capsys):
    assert outcome_of(caused_by(UserError("scale by rms, not 'max'")), capsys) == (1, "error: scale by rms, not 'max'")


def test_an_expected_error_becomes_one_line_without_the_search_path(capsys):
    error = Expected("Could not find 'data/moon'\n\nAvailable options in 'data':\n\tfiles\nConfig search path:\n\tconf")
    expected = "error: Could not find 'data/moon' Available options in 'data': files"
    assert outcome_of(error, capsys) == (1, expected)


@pytest.mark.faults
def test_a_full_disk_is_one_line_that_names_the_file(capsys):
    code, said = outcome_of(OSError(errno.ENOSPC, "No space left on device", "stores/00001.chat"), capsys)
    assert code == 1
    assert said == "error: cannot write stores/00001.chat: No space left on device; what was complete is kept"


@pytest.mark.faults
def test_a_disk_error_is_told_whatever_a_library_makes_of_it(capsys):
    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    said = "error: cannot write{}: No space left on device; what was complete is kept"
    assert outcome_of(rust, capsys) == (1, said.format(""))
    for error in (rust, caused_by(OSError(errno.ENOSPC, "nothing left")), OSError(errno.ENOSPC, "no", "a", None, "b")):
        with pytest.raises(OSError, match="No space left") as named, writing("stores/00001.chat"):
            raise error
        assert outcome_of(named.value, capsys) == (1, said.format(" stores/00001.chat"))
    copying = OSError(errno.ENOSPC, "No space left on device", "/tmp/aside", None, "last.ckpt")
    assert outcome_of(copying, capsys) == (1, said.format(" last.ckpt"))
    with pytest.raises(SafetensorError, match="header"), writing("stores/00001.chat"):
        raise SafetensorError("header too small")


@pytest.mark.faults
def test_ctrl_c_says_that_work_is_kept(capsys):
    code, said = outcome_of(KeyboardInterrupt(), capsys)
    assert code == 130
    assert "kept" in said
    assert "\n" not in said


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError(errno.ENOENT, "not there"), caused_by(KeyError("x"))])
def test_a_bug_keeps_its_traceback(bug):
    @one_line(Expected)
    def main() -> None:
        raise bug

    with pytest.raises(type(bug)):
        main()


def test_what_main_returns_is_returned():
    assert one_line()(lambda: 5)() == 5
