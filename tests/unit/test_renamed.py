"""Settings and classes under their old names."""

import logging
import sys

import pytest

from crosscoder.cli.arguments import rename_arguments
from crosscoder.renamed import find_added, rename_flat, rename_override, rename_settings

ANALYSIS = {"_target_": "crosscoder.analysis.analysis.Analysis", "n_tokens": 1000}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("eval.diff.analysis.n_tokens=1000", "analysis.n_tokens=1000"),
        ("+eval.nulls.analysis.rule.rare=2", "+rule.rare=2"),
        ("~eval.density.analysis", "~analysis"),
        ("models.contrast=[chat,base]", "models.diff_pair=[chat,base]"),
    ],
)
def test_an_override_with_an_old_key_gets_the_new_one_and_a_warning(old, new, caplog):
    with caplog.at_level(logging.WARNING):
        assert rename_override(old) == new
    assert "is now called" in caplog.text
    assert "will not work in version 0.3" in caplog.text


@pytest.mark.parametrize(
    "override", ["eval.diff.contexts=3", "eval.diff.analysis_=1", "analysis.n_tokens=5", "eval=[]"]
)
def test_other_overrides_stay_as_they_are(override, caplog):
    assert rename_override(override) == override
    assert not caplog.records


def test_the_analysis_of_an_eval_in_a_saved_config_moves_to_the_top():
    config = {"seed": 0, "eval": {"diff": {"analysis": ANALYSIS, "contexts": 5}}}
    assert rename_settings(config) == {
        "seed": 0,
        "eval": {"diff": {"contexts": 5}},
        "analysis": ANALYSIS,
    }


def test_a_setting_inside_the_analysis_of_an_eval_moves_and_is_renamed():
    config = {"eval": {"diff": {"analysis": {"rule": {"elsewhere": 0.8}}}}}
    assert rename_settings(config)["rule"] == {"max_cross_cosine": 0.8}
    flat = {"eval.diff.analysis.rule.elsewhere": 0.8}
    assert rename_flat(flat) == {"rule.max_cross_cosine": 0.8}


def test_settings_by_flat_key_move_with_what_is_above_them():
    flat = {"eval.diff.analysis.n_tokens": 1000, "eval.diff.contexts": 5}
    assert rename_flat(flat) == {"analysis.n_tokens": 1000, "eval.diff.contexts": 5}


def test_limits_of_an_eval_with_questions_are_found_under_their_old_names():
    assert rename_flat({"eval.steering.n_plain": 4, "seed": 0}) == {"seed": 0}
    flat = {"eval.ablation.asking.n_questions": 4, "eval.steering.choose.n_pairs": 8}
    assert rename_flat(flat) == {"eval.ablation.n_questions": 4, "eval.steering.n_pairs": 8}


def test_arguments_of_a_command_are_renamed_but_its_options_are_not(monkeypatch):
    arguments = ["--config-name=eval.diff.analysis", "eval.diff.analysis.n_tokens=9", "-m"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    rename_arguments()
    assert sys.argv == ["evaluate.py", arguments[0], "analysis.n_tokens=9", "-m"]


def test_runs_of_the_last_version_are_not_compared_by_settings_that_it_lacked():
    assert find_added("harvest.storage") == "harvest.storage"
    assert find_added("column.norms._target_") == "column"
    assert find_added("harvest.shard_tokens") == ""


def test_a_setting_that_is_no_longer_used_is_left_out_with_a_warning(caplog):
    steering = {"n_questions": 4, "asking": {"n_plain": 64}, "also": [-0.1]}
    config = {"eval": {"steering": steering, "ablation": {"n_plain": 64}}}
    renamed = rename_settings(config)["eval"]
    assert renamed["ablation"] == {"n_plain": 64}
    assert not {"n_plain", "also"} & set(renamed["steering"])
    assert renamed["steering"]["n_questions"] == 4
    assert "the setting eval.steering.n_plain is no longer used" in caplog.text
