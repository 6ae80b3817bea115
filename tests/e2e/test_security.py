"""A run folder or crosscoder from elsewhere runs nothing, and no key is printed or written."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.commands import SMALL, ended, here, start

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("unchecked")]


@pytest.fixture
def sentinel(tmp_path) -> Iterator[Path]:
    """Return the path of a file that only forbidden code would make."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Finish a run on planted activations."""
    folder = tmp_path_factory.mktemp("security") / "run"
    outcome = here("train.py", "debug=smoke", *SMALL, f"run={folder}")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def theirs(run, tmp_path) -> Path:
    """Copy a run folder, as somebody else may hand it over."""
    return shutil.copytree(run, tmp_path / "theirs")


def test_a_run_s_config_is_not_instantiated(theirs, sentinel):
    bad = {
        "_target_": "pathlib.Path.touch",
        "self": {"_target_": "pathlib.Path", "_args_": [str(sentinel)]},
    }
    (theirs / "config.yaml").write_text(
        yaml.safe_dump({"recipe": bad, "eval": {"x": bad}, "models": bad})
    )
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=[reconstruction,stability]")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "setting", ["+loss.x={_target_:pathlib.Path.touch,self:SENTINEL}", "loss.x._target_=os.system"]
)
def test_a_crosscoder_s_settings_run_nothing(theirs, sentinel, setting):
    settings = [setting.replace("SENTINEL", str(sentinel))]
    path = theirs / "crosscoder" / "config.json"
    config = json.loads(path.read_text())
    config["provenance"]["settings"] = settings
    path.write_text(json.dumps(config))
    outcome = here("evaluate.py", f"crosscoder={theirs}", "eval=stability")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "is not a plain setting" in outcome.err


SECRETS = {
    "HF_TOKEN": "hf_sentinelOfTheHubWhichNobodyMaySee",
    "OPENAI_API_KEY": "sk-sentinelOfTheJudgeWhichNobodyMaySee",
    "WANDB_API_KEY": "5e7717e1" * 5,
    "AWS_SECRET_ACCESS_KEY": "sentinelOfSomethingElseWhichNobodyMaySee",
}


def test_no_key_is_said_or_written(tmp_path):
    environment = SECRETS | {"HOME": str(tmp_path), "CROSSCODER_CACHE": str(tmp_path / "cache")}
    trained = ended(
        start(
            "train.py",
            "debug=smoke",
            *SMALL[:-1],
            "logger=wandb",
            "run=run",
            folder=tmp_path,
            **environment,
        )
    )
    assert trained.code == 0, trained.err
    evaluated = ended(
        start(
            "evaluate.py",
            "crosscoder=run",
            "eval=[reconstruction,diff]",
            folder=tmp_path,
            **environment,
        )
    )
    assert evaluated.code == 0, evaluated.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.html", "config.yaml"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    said = "".join(outcome.out + outcome.err for outcome in (trained, evaluated))
    for secret in SECRETS.values():
        assert secret not in said
        assert not [path for path in files if secret.encode() in path.read_bytes()]
