"""A run folder holds one run: differences are named, and runs are never mixed."""

import json

import pytest
import yaml

from crosscoder.errors import UserError
from crosscoder.io.checksum import combine_checksums
from crosscoder.io.identity import (
    Identity,
    describe_differences,
    read_identity,
    record_inputs,
    require_same,
    start_or_resume,
)
from crosscoder.io.run_dir import Run, write_json

CONFIG = {
    "seed": 0,
    "lr": 1e-05,
    "recipe": {"seed": 0, "losses": ["a"]},
    "run": "A",
    "overrides": [],
    "stage": "all",
}
HASHES = "a" * 64, "b" * 64


def start(run: Run, config: dict) -> bool:
    return start_or_resume(
        run, Identity.from_config(config), yaml.safe_dump(config), "take another"
    )


def test_an_empty_folder_starts_a_run_and_the_same_run_is_resumed(tmp_path):
    run = Run(tmp_path / "run")
    assert read_identity(run) is None
    assert start(run, CONFIG) is False
    assert start(run, CONFIG) is True
    assert read_identity(run) == Identity.from_config(CONFIG)


def test_ignored_settings_may_differ(tmp_path):
    run = Run(tmp_path / "run")
    start(
        run,
        CONFIG | {"stage": "harvest", "harvest": {"root": "a", "n": 1}, "logger": {"mode": "x"}},
    )
    assert start(run, CONFIG | {"run": "B", "overrides": ["k=3"], "harvest": {"root": "b", "n": 1}})
    assert yaml.safe_load(run.config.read_text())["stage"] == "all"  # of the resumed run


def test_another_run_is_refused_with_the_differences_and_advice(tmp_path):
    run = Run(tmp_path / "run")
    start(run, CONFIG)
    with pytest.raises(
        UserError, match=r"run holds a run of other settings \(seed: 0, not 1\): take another"
    ):
        start(run, CONFIG | {"seed": 1, "recipe": {"seed": 1, "losses": ["a"]}})
    assert yaml.safe_load(run.config.read_text())["seed"] == 0


def test_a_run_without_an_identity_is_identified_by_its_configuration(tmp_path):
    run = Run(tmp_path / "run")
    run.write_config(yaml.safe_dump(CONFIG | {"lr": 0.5}))
    with pytest.raises(UserError, match=r"lr: 0\.5, not 1e-05"):
        require_same(run, Identity.from_config(CONFIG), "no")


@pytest.mark.parametrize("there", ["checkpoints", "crosscoder", "results", "metrics.json"])
def test_files_of_an_unknown_run_are_not_mixed_with_a_new_one(tmp_path, there):
    run = Run(tmp_path / "run")
    (run.folder / there).mkdir(parents=True)
    with pytest.raises(UserError, match=f"holds {there} of an unknown run"):
        start(run, CONFIG)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"settings": 1}', '"x"', "\x00"])
def test_a_damaged_identity_is_one_line(tmp_path, text):
    run = Run(tmp_path / "run")
    start(run, CONFIG)
    run.identity.write_text(text)
    with pytest.raises(UserError, match=r"identity\.json does not identify a run"):
        read_identity(run)


OLD_CONFIG = {
    "seed": 0,
    "models": {"contrast": ["chat", "base"]},
    "recipe": {"activation": {"_target_": "crosscoder.activations.topk.TopK", "k": 3}},
    "data": {"corpora": [{"_target_": "crosscoder.data.text.PythonDocs"}]},
    "run": "A",
    "given": ["k=3"],
}
NEW_CONFIG = {
    "seed": 0,
    "models": {"diff_pair": ["chat", "base"]},
    "recipe": {"activation": {"_target_": "crosscoder.core.activations.topk.TopK", "k": 3}},
    "data": {"corpora": [{"_target_": "crosscoder.data.corpora.text.PythonDocs"}]},
    "run": "A",
    "overrides": [],
}


@pytest.mark.parametrize("has_identity", [True, False])
def test_a_run_of_an_older_version_is_resumed_under_the_new_names(tmp_path, has_identity):
    run = Run(tmp_path / "run")
    run.write_config(yaml.safe_dump(OLD_CONFIG))
    if has_identity:
        config = {name: value for name, value in OLD_CONFIG.items() if name != "given"}
        write_json(run.identity, Identity.from_config(config).spec())
    assert read_identity(run) == Identity.from_config(NEW_CONFIG)
    assert start(run, NEW_CONFIG) is True
    with pytest.raises(UserError, match=r"models\.diff_pair: \['chat', 'base'\], not None"):
        start(run, NEW_CONFIG | {"models": {}})


def test_settings_that_a_run_is_too_old_to_have_are_not_compared(tmp_path):
    run = Run(tmp_path / "run")
    before = CONFIG | {"column": {"norms": {"_target_": "a.Norms"}}}
    start(run, before)
    assert start(run, before | {"rule": {"fdr": 0.05}}) is True
    # a run of this version has them, so they are compared
    other = Run(tmp_path / "other")
    start(other, before | {"rule": {"fdr": 0.05}})
    assert start(other, before | {"rule": {"fdr": 0.05}}) is True
    with pytest.raises(UserError, match=r"rule\.fdr: 0\.05, not 0\.1"):
        start(other, before | {"rule": {"fdr": 0.1}})


def test_an_identity_in_a_checkpoint_of_an_older_version_gets_the_new_names():
    config = {name: value for name, value in OLD_CONFIG.items() if name != "given"}
    old = Identity.from_config(config).spec()
    assert Identity.from_spec(old) == Identity.from_config(NEW_CONFIG)


def test_inputs_are_recorded_and_compared(tmp_path):
    run = Run(tmp_path / "run")
    start(run, CONFIG)
    first, other = ({"train.tokens_sha256": sha256, "train.chat": "key"} for sha256 in HASHES)
    record_inputs(run, Identity.from_config(CONFIG).with_inputs(first))
    record_inputs(run, Identity.from_config(CONFIG).with_inputs(first))
    with pytest.raises(
        UserError, match=f"other inputs .train.tokens_sha256: {'a' * 16}…, not {'b' * 16}…"
    ):
        record_inputs(run, Identity.from_config(CONFIG).with_inputs(other))
    assert json.loads(run.identity.read_text())["inputs"] == first


def test_repeated_differences_are_named_once_and_many_are_counted():
    before = {"k": 1, "a.k": 1, "b": 1, "c": 1, "d": 1, "e": 1}
    now = {"k": 2, "a.k": 2, "b": 3, "c": 4, "d": 5}
    assert describe_differences(before, now) == "k: 1, not 2; b: 1, not 3; c: 1, not 4; and 2 more"
    assert describe_differences(before, dict(before)) == ""


def test_a_combined_checksum_depends_on_every_file():
    digests = {
        combine_checksums(files)
        for files in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"})
    }
    assert len(digests) == 4
    assert combine_checksums({"a": "1", "b": "2"}) == combine_checksums({"b": "2", "a": "1"})
    assert combine_checksums({}) is combine_checksums(None) is combine_checksums("text") is None
