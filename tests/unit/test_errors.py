import errno

import pytest

from crosscoder.errors import UserError, one_line


def outcome_of(error: BaseException, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Exit code and what stands on stderr when an entry point ends like this."""

    @one_line
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code, capsys.readouterr().err.strip()


def test_a_users_error_is_one_line_and_exit_code_1(capsys):
    long = "no crosscoder at [red]runs/1[/red]: " + "x" * 300
    assert outcome_of(UserError(long), capsys) == (1, f"error: {long}")


def test_a_full_disk_is_one_line_that_names_the_file(capsys):
    code, said = outcome_of(OSError(errno.ENOSPC, "No space left on device", "stores/00001.chat"), capsys)
    assert code == 1
    assert said == "error: cannot write stores/00001.chat: No space left on device; what was complete is kept"


def test_ctrl_c_says_that_work_is_kept(capsys):
    code, said = outcome_of(KeyboardInterrupt(), capsys)
    assert code == 130
    assert "kept" in said
    assert "\n" not in said


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError(errno.ENOENT, "not there")])
def test_a_bug_keeps_its_traceback(bug):
    @one_line
    def main() -> None:
        raise bug

    with pytest.raises(type(bug)):
        main()


def test_what_main_returns_is_returned():
    assert one_line(lambda: 5)() == 5
