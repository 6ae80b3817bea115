"""The configuration of the run to resume."""

from pathlib import Path

import pytest
import yaml

from crosscoder.cli.command import REQUIRED_KEYS, load_resume_config
from crosscoder.errors import UserError


def write_config(folder: Path, **settings: object) -> Path:
    config = {key: {} for key in REQUIRED_KEYS} | settings
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_configuration_of_an_older_version_gets_the_new_names(tmp_path):
    folder = write_config(
        tmp_path,
        models={"contrast": ["chat", "base"]},
        recipe={"activation": {"_target_": "crosscoder.activations.topk.TopK", "k": 3}},
        given=["k=3"],
    )
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["overrides"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cfg = load_resume_config(str(folder))
    assert cfg.models == {"diff_pair": ["chat", "base"]}
    assert cfg.recipe.activation._target_ == "crosscoder.core.activations.topk.TopK"
    assert cfg.overrides == ["k=3"]
    assert cfg.run == str(folder)


def test_a_missing_key_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(UserError, match=r"is not the configuration of a run: it lacks stage, rec"):
        load_resume_config(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[1]", "{", "x", "\x00", "a: ${b}"])
def test_a_damaged_configuration_is_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="is not the configuration of a run") as error:
        load_resume_config(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run to resume at .*: there is no config\.yaml"):
        load_resume_config(str(tmp_path))
