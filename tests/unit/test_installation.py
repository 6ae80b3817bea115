"""Where the package finds its conf folder, and which commands its messages name."""

import sys

import pytest

import crosscoder
from crosscoder import installation
from crosscoder.installation import find_conf, is_clone, name_command, name_install, name_launch


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Pretend that the package was installed from a wheel, which holds conf/."""
    (tmp_path / "crosscoder" / "conf").mkdir(parents=True)
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "crosscoder")
    monkeypatch.setattr(installation, "PROJECT", tmp_path)
    return tmp_path / "crosscoder"


def test_conf_is_beside_the_package_in_a_clone():
    assert is_clone()
    assert (find_conf() / "train.yaml").is_file()


def test_conf_is_in_the_package_of_a_wheel(wheel):
    assert not is_clone()
    assert find_conf() == wheel / "conf"


@pytest.mark.parametrize(
    ("program", "name", "command"),
    [
        ("train.py", "evaluate", "python evaluate.py"),
        ("../the clone/train.py", "evaluate", "python '../the clone/evaluate.py'"),
        ("evaluate.py", "train", "python train.py"),
        ("/venv/bin/crosscoder-train", "evaluate", "crosscoder-evaluate"),
        ("/venv/bin/crosscoder-report", "report", "crosscoder-report"),
        ("crosscoder/report/__main__.py", "report", "python -m crosscoder.report"),
        ("crosscoder/report/__main__.py", "evaluate", "python evaluate.py"),
    ],
)
def test_commands_are_named_as_the_user_started_one(monkeypatch, program, name, command):
    monkeypatch.setattr(sys, "argv", [program])
    assert name_command(name) == command


def test_without_a_clone_console_scripts_are_named(wheel, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["notebook.py"])
    assert name_command("evaluate") == "crosscoder-evaluate"


def test_torchrun_is_told_that_a_console_script_is_no_python_file(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert name_launch(4) == "torchrun --nproc-per-node 4 train.py"
    monkeypatch.setattr(sys, "argv", ["/venv/bin/crosscoder-train"])
    assert name_launch(4) == "torchrun --nproc-per-node 4 --no-python crosscoder-train"


def test_an_extra_is_installed_from_the_clone():
    assert name_install("demo") == 'pip install -e ".[demo]"'


def test_an_extra_of_a_wheel_is_installed_by_the_name_of_the_package(wheel):
    assert name_install("demo") == 'pip install "crosscoder[demo]"'


def test_the_package_has_a_version():
    assert crosscoder.__version__[0].isdigit()
