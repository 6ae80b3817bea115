"""Signals to programs in their own processes: one line, exit code 130, nothing left behind."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from crosscoder.runtime.signals import EXIT_CODE

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[3]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY = "ready"


def begin(code: str, **environment: str) -> subprocess.Popen:
    """Begin a program that listens; it has said that it is ready."""
    whole = "from crosscoder.runtime import signals\nsignals.listen()\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", whole],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == READY
    return process


def end(process: subprocess.Popen) -> str:
    """Wait for a program that was told to end; give what it has said on stderr."""
    _, said = process.communicate(timeout=180)
    assert process.returncode == EXIT_CODE, said
    return said


WAITS = """
    import time
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_one_line_and_an_exit_code(number):
    process = begin(WAITS)
    process.send_signal(number)
    said = end(process)
    kept = "complete files are kept; the same command continues from there"
    assert said == f"stopped by {number.name}: {kept}\n"


def test_many_signals_at_once_are_one_line():
    process = begin(WAITS)
    for _ in range(50):
        for number in SIGNALS:
            process.send_signal(number)
    assert len(end(process).splitlines()) == 1


@pytest.mark.parametrize(
    "code",
    [
        """
        print("ready", flush=True)
        while True:
            try:
                raise ValueError
            except BaseException:  # whatever it is
                pass
        """,
        """
        class Waits:
            def __del__(self):
                import time
                print("ready", flush=True)
                time.sleep(60)
        Waits()
        """,
        """
        import threading
        import time
        thread = threading.Thread(target=time.sleep, args=(60,))
        thread.start()
        print("ready", flush=True)
        thread.join()
        """,
        """
        import atexit
        import time
        def wait():
            print("ready", flush=True)
            time.sleep(60)
        atexit.register(wait)
        """,
        """
        import sys
        import time
        class Finder:
            def find_spec(self, name, *_):
                print("ready", flush=True)
                time.sleep(60)
        sys.meta_path.insert(0, Finder())
        import there_is_no_such_module
        """,
    ],
    ids=["except", "del", "thread", "exit", "import"],
)
def test_nothing_swallows_a_signal(code):
    process = begin(code)
    process.send_signal(signal.SIGTERM)
    assert end(process).startswith("stopped by SIGTERM: ")


def test_what_is_under_way_is_deleted(tmp_path):
    process = begin(
        """
        import os
        import time
        from pathlib import Path
        from crosscoder.io.files import atomic_write
        from crosscoder.io.scratch import scratch_folder
        folder = Path(os.environ["FOLDER"])
        with atomic_write(folder / "whole") as file, scratch_folder(folder) as scratch:
            file.write_text("half")
            (scratch / "more").write_text("half")
            print("ready", flush=True)
            time.sleep(60)
        """,
        FOLDER=str(tmp_path),
    )
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(signal.SIGINT)
    end(process)
    assert not list(tmp_path.iterdir())


# its work is done when a line comes
POSTPONES = """
    import sys
    asked = signals.Postponement()
    asked.begin(lambda: print("asked", flush=True))
    print("ready", flush=True)
    sys.stdin.readline()
    asked.end()
    signals.exit_program(asked.signal, "that was it")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_what_asks_for_time_ends_by_itself_also_after_a_second_signal(number):
    process = begin(POSTPONES)
    assert process.stdin is not None
    assert process.stdout is not None
    for each in (number, signal.SIGTERM):
        process.send_signal(each)
        assert process.stdout.readline() == "asked\n"
    process.stdin.write("\n")
    assert end(process) == f"stopped by {number.name}: that was it\n"


def test_a_signal_while_the_process_ends_prints_no_second_line():
    code = textwrap.dedent(POSTPONES).replace(
        'signals.exit_program(asked.signal, "that was it")',
        "import os, signal\n"
        "try:\n"
        '    signals.exit_program(asked.signal, "that was it")\n'
        "finally:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n",
    )
    process = begin(code)
    assert process.stdin is not None
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    process.stdin.write("\n")
    assert end(process) == "stopped by SIGINT: that was it\n"


def test_a_third_signal_waits_for_nothing():
    process = begin(POSTPONES)
    assert process.stdout is not None
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    assert end(process).startswith("stopped by SIGINT: complete files are kept")


def test_nohup_is_kept_to():
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + (
        "from crosscoder.runtime import signals\nsignals.listen()\n"
        "asked = signals.Postponement()\nasked.begin(print)\n"
        "signal.raise_signal(signal.SIGHUP)\nassert asked.signal is None\n"
        "asked.end()\nsignal.raise_signal(signal.SIGHUP)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=180)


def test_other_processes_of_a_run_are_silent():
    process = begin(WAITS, RANK="1")
    process.send_signal(signal.SIGTERM)
    assert end(process) == ""


def test_a_copy_of_the_process_is_silent():
    process = begin(
        """
        import os
        import signal
        import time
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"x")
            time.sleep(60)
        os.read(reading, 1)  # the copy runs
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    process.send_signal(signal.SIGTERM)
    assert len(end(process).splitlines()) == 1


def test_children_end_too():
    process = begin(
        """
        import multiprocessing
        import time
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        print("ready", flush=True)
        print(child.pid, flush=True)
        time.sleep(60)
        """
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    end(process)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_signal_after_all_is_done_does_not_change_that():
    code = """
    import atexit
    import os
    import signal
    import sys
    class Late:
        def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
            kill(pid, number)
    sys.late = Late()
    print("ready", flush=True)
    """
    process = begin(code)
    _, said = process.communicate(timeout=180)
    assert (process.returncode, said) == (0, "")


def test_a_job_of_slurm_is_started_again(tmp_path):
    told = tmp_path / "told"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    scontrol.chmod(0o755)
    process = begin(WAITS, SLURM_JOB_ID="17", PATH=f"{tmp_path}:{os.environ['PATH']}")
    process.send_signal(signal.SIGUSR1)
    assert end(process).startswith("stopped by SIGUSR1: ")
    assert told.read_text() == "requeue 17\n"


def test_a_closed_terminal_ends_the_program_after_what_it_asks_for(tmp_path):
    done = tmp_path / "done"
    code = f"""
from crosscoder.runtime import signals
import time
signals.listen()
asked = signals.Postponement()
asked.begin(lambda: None)
print("ready", flush=True)
while asked.signal is None:
    time.sleep(0.01)
for _ in range(100):
    print("to a terminal that is not there", flush=True)
asked.end()
open({str(done)!r}, "w").write(asked.signal.name)
signals.exit_program(asked.signal, "that was it")
"""
    child, terminal = pty.fork()
    if not child:  # with a terminal of its own
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", code])
    said = b""
    while READY.encode() not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    began = time.monotonic()
    ended = (0, 0)
    while ended[0] == 0 and time.monotonic() - began < 30:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == EXIT_CODE
    assert done.read_text() == "SIGHUP"


# Python tells of every import and of every file it renames; at the one that is awaited comes a
# signal
AT = """
import os, signal, sys
awaited = os.environ["SIGNAL_AT"]
def heard(event, arguments):
    if event == "import" and arguments[0] == awaited:
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(heard)
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("train.py",), "hydra"),
        (("evaluate.py",), "hydra"),
        (("-m", "crosscoder.formats"), "torch"),
        (("-m", "crosscoder.report", "run"), "rich.console"),
        (("-c", "from crosscoder.cli.start import train; train()"), "hydra"),
        (("-c", "from crosscoder.cli.start import evaluate; evaluate()"), "hydra"),
        (("-c", "from crosscoder.cli.start import formats; formats()"), "torch"),
        (("-c", "from crosscoder.cli.start import report; report()"), "rich.console"),
    ],
)
def test_commands_listen_before_they_import(tmp_path, command, module):
    (tmp_path / "sitecustomize.py").write_text(AT)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "SIGNAL_AT": module}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (EXIT_CODE, "")
    assert done.stderr.startswith("stopped by SIGTERM: ")
    assert len(done.stderr.splitlines()) == 1
