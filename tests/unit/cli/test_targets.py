"""A resumed run makes what conf/ names, and what the user's own runs name; nothing else."""

from pathlib import Path

import pytest
import yaml

from crosscoder.cli.targets import list_targets, remember_targets, require_targets
from crosscoder.errors import UserError
from tests.e2e.commands import SMALL, here


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))


def test_the_choices_of_conf_are_known():
    assert {
        "crosscoder.training.Recipe",
        "crosscoder.lm.Pair",
        "crosscoder.data.Harvest",
    } <= list_targets()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "crosscoder.io.files.os.system",
        "crosscoder.io.run_dir.write_text",
        "builtins.exec",
        "\x1b[31m",
    ],
)
def test_other_names_are_refused(name):
    config = {"recipe": {"losses": {"x": [{"_target_": name}]}}}
    with pytest.raises(UserError, match="none of the choices in conf/") as error:
        require_targets(config, "text", Path("config.yaml"))
    assert "\x1b" not in str(error.value)


def test_a_user_s_own_classes_are_known_in_the_run_that_named_them():
    config = {"loss": {"_target_": "mine.Loss"}}
    remember_targets(config, "text")
    require_targets(config, "text", Path("config.yaml"))
    with pytest.raises(UserError):
        require_targets(config, "another text", Path("config.yaml"))


@pytest.fixture
def killed(tmp_path) -> Path:
    """Harvest a run without training it."""
    folder = tmp_path / "run"
    outcome = here("train.py", "debug=smoke", *SMALL, "stage=harvest", f"run={folder}")
    assert outcome.code == 0, outcome.err
    return folder


def test_resuming_runs_nothing_that_a_foreign_configuration_names(killed, tmp_path):
    sentinel = tmp_path / "sentinel"
    config = yaml.safe_load((killed / "config.yaml").read_text())
    config["logger"] = {
        "_target_": "pathlib.Path.touch",
        "self": {"_target_": "pathlib.Path", "_args_": [str(sentinel)]},
    }
    config["stage"] = "all"
    (killed / "config.yaml").write_text(yaml.safe_dump(config))
    (killed / "identity.json").unlink()
    outcome = here("train.py", f"resume={killed}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "pathlib.Path" in outcome.err
    assert not sentinel.exists()
