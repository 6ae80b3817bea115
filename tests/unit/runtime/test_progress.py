"""Progress off a terminal is plain lines; on one it never breaks a number."""

import io
import re

import pytest
from rich.console import Console

from crosscoder.io.download_lines import DownloadLines
from crosscoder.runtime import progress as module
from crosscoder.runtime.progress import EVERY, PlainProgress, format_line, progress
from crosscoder.terminal.console import TextConsole


class Clock:
    """Clock that stands still until somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.work = lambda: None
        self.n_waits = 3

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """Do a piece of the work, and let the time pass; return whether the work is done."""
        if self.n_waits == 0:
            return True
        self.work()
        self.now += seconds
        self.n_waits -= 1
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, per_step: int = 1, width: int = 80) -> tuple[PlainProgress, io.StringIO]:
    file = io.StringIO()
    console = TextConsole(file=file, width=width)
    return PlainProgress("tokens", per_step, console, clock, clock.wait), file


def test_a_log_file_gets_a_line_with_speed_and_remaining_time_every_30_seconds(clock):
    bar, file = make(clock)
    task = bar.add_task("harvest base", total=60_000, note="")
    clock.work = lambda: bar.advance(task, 6_000)
    bar.print_regularly()
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert clock.now == 3 * EVERY
    assert lines[1] == "harvest base: 12,000 of 60,000 tokens, 200 tokens/s, 0:04:00 left"


def test_the_last_line_says_how_long_it_took(clock):
    bar, file = make(clock, per_step=512)
    clock.n_waits = 0  # shorter than 30 seconds
    with bar:
        task = bar.add_task("train", total=10, note="")
        bar.advance(task, 5)
        clock.now = 2.5
        bar.advance(task, 5)
    assert file.getvalue() == "train: 10 of 10 steps, 1,024 tokens/s, 0:00:02\n"


def test_work_of_unknown_length_has_a_line_every_30_seconds(clock):
    bar, file = make(clock)
    bar.add_task("converting", total=None, note="")
    clock.n_waits = 2
    bar.print_regularly()
    assert file.getvalue().splitlines() == ["converting, 0:00:30", "converting, 0:01:00"]


def test_disabled_progress_prints_nothing(clock):
    bar, file = make(clock)
    with bar:
        bar.disable = True  # of all processes but the first
        bar.advance(bar.add_task("train", total=1, note=""))
    assert file.getvalue() == ""


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_line_leaves_out_notes_that_do_not_fit(clock, width):
    bar, _ = make(clock, width=width)
    bar.add_task("train", total=390, completed=100, note="fve/base 0.923  dead_fraction 0.230")
    line = format_line(bar.tasks[0], "tokens", 1, width)
    assert len(line) <= width
    assert ("fve/base 0.923" in line) == (width >= 60)
    assert ("0:00:00" in line) == (width >= 60)
    assert ("dead_fraction 0.230" in line) == (width >= 80)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_line_of_a_terminal_breaks_no_number(monkeypatch, width):
    file = io.StringIO()

    def open_terminal() -> Console:
        return TextConsole(file=file, width=width, force_terminal=True)

    monkeypatch.setattr(module, "TextConsole", open_terminal)
    with progress() as bar:
        task = bar.add_task("harvest base, validation", total=290_000, note="fve/base 0.923")
        bar.advance(task, 290_000)
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    assert "290,000 of 290,000 tokens" in shown
    assert "…" not in shown
    assert ("━" in shown) == (width >= 110)


def test_output_that_is_no_terminal_gets_plain_lines(capsys):
    with progress("answers") as bar:
        bar.advance(bar.add_task("answers", total=1, note=""))
    assert re.fullmatch(r"answers: 1 of 1 answers.*\n", capsys.readouterr().out)


def test_a_download_has_a_line_with_speed_and_remaining_time(capsys, clock):
    bar = DownloadLines(desc="Downloading", total=4_000_000, unit="B", unit_scale=True)
    bar._time = clock
    bar.start_t = bar.last_print_t = 0.0
    bar.update(1_000_000)
    assert capsys.readouterr().out == ""
    clock.now = EVERY
    bar.update(1_000_000)
    bar.close()
    assert capsys.readouterr().out == "Downloading: 2.0 MB of 4.0 MB, 66.7 kB/s, 00:30 left\n"
