"""The command crosscoder-explore: errors of one line, help, and what it needs."""

import importlib.util
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.explore.__main__ import bind, build_parser, main, require_libraries
from crosscoder.explore.session import open_session
from crosscoder.io.run_dir import Run
from tests.helpers.explore_run import write_explorable_run


def fail(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["crosscoder-explore", *arguments])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_missing_run_is_an_error_of_one_line(monkeypatch, capsys, tmp_path):
    assert "no run at" in fail(monkeypatch, capsys, str(tmp_path / "missing"))


def test_a_used_port_is_an_error_of_one_line(monkeypatch, capsys, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"cannot use port {port}" in fail(monkeypatch, capsys, str(tmp_path), "--port", port)


def test_a_missing_extra_is_an_error_that_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    with pytest.raises(UserError, match=r"needs uvicorn: pip install .*explore"):
        require_libraries()


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(UserError, match="from 0 to 65535"):
        bind(70_000)


def test_the_socket_is_bound_to_this_machine_alone():
    with bind(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_run_without_a_table_of_latents_is_refused(tmp_path: Path, tiny_pair):
    run = write_explorable_run(tmp_path / "run", tiny_pair)
    run.table_path("latents").unlink()
    with pytest.raises(UserError, match=r"no table of latents .* eval=\[diff\]"):
        open_session(str(run.folder))


def test_a_crosscoder_without_models_is_refused(tmp_path: Path, tiny_pair):
    run = write_explorable_run(tmp_path / "run", tiny_pair)
    loaded = Crosscoder.from_pretrained(run.folder)
    loaded.provenance.pop("pair")
    other = Run(tmp_path / "other")
    loaded.save_pretrained(other.crosscoder)
    run.results.rename(other.results)
    with pytest.raises(UserError, match="without language models"):
        open_session(str(other.folder))


def test_a_single_source_is_refused(tmp_path: Path, tiny_pair):
    run = write_explorable_run(tmp_path / "run", tiny_pair)
    single = Crosscoder(tiny_pair.sources(names=["chat"]), 64, TopK(2)).fold()
    single.provenance["pair"] = tiny_pair.spec()
    other = Run(tmp_path / "other")
    single.save_pretrained(other.crosscoder)
    run.results.rename(other.results)
    with pytest.raises(UserError, match="needs two compared sources"):
        open_session(str(other.folder))


def test_the_tokenizer_is_there_before_any_thread_starts(tmp_path: Path, tiny_pair):
    run = write_explorable_run(tmp_path / "run", tiny_pair)
    opened = open_session(str(run.folder), is_trusted=True)
    assert "tokenizer" in vars(opened.pair.shared)


def test_the_help_explains_every_option():
    text = build_parser().format_help()
    for word in ("RUN", "--open", "--port", "--device", "--trust-models", "Ctrl-C"):
        assert word in text


@pytest.mark.long
def test_the_help_imports_nothing_large():
    code = (
        "import sys; sys.argv = ['crosscoder-explore', '--help']\n"
        "from crosscoder.explore.start import explore\n"
        "try:\n    explore()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "large = {'torch', 'transformers', 'pandas', 'starlette', 'uvicorn'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.long
def test_ctrl_c_ends_the_command_with_one_line(tmp_path: Path, tiny_pair):
    run = write_explorable_run(tmp_path / "run", tiny_pair)
    command = [sys.executable, "-m", "crosscoder.explore", str(run.folder), "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}loading", timeout=120) as answer:
            assert b'"done"' in answer.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert err.startswith("stopped by SIGINT")
