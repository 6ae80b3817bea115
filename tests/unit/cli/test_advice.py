"""A mistyped setting is explained in one line."""

import sys

import pytest

from crosscoder.cli.evaluate import main as evaluate
from crosscoder.cli.train import main as train

COMMANDS = {"train": train, "evaluate": evaluate}


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return a function that runs a command and returns the line with which it ends."""

    def run(config: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{config}.py", *arguments])
        with pytest.raises(SystemExit) as end:
            COMMANDS[config]()
        assert end.value.code == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("n_latent=8", "n_latents"),
        ("layr=3", "layer"),
        ("experimnt=ours", "experiment"),
        ("activation=batchtopk", "batch_topk"),
        ("activation.kk=3", "activation.k"),
        ("eval=splise", "splice"),
        ("eval=[reconstruction,splise]", "splice"),
        ("eval.splice.n_token=3", "eval.splice.n_tokens"),
        ("loss=[squard]", "squared"),
        ("init.decodernorm=1", "init.decoder_norm"),
    ],
)
def test_the_name_that_was_meant_is_suggested(refused, argument, meant):
    assert refused("train", argument).endswith(f"; did you mean {meant}?")


@pytest.mark.long
def test_a_name_like_no_other_gets_no_suggestion(refused):
    assert refused("train", "zzz=3") == "error: no setting 'zzz' (--help lists all)"
    assert "did you mean" not in refused("train", "logger=qqqqq")
    assert "(there is csv, none, wandb)" in refused("train", "logger=qqqqq")


@pytest.mark.long
def test_a_setting_of_a_choice_that_is_not_chosen_names_the_choice(refused):
    line = refused("train", "eval.splice.n_tokens=3")
    assert line.endswith("is a setting of eval=splice, which is not chosen")
    line = refused("train", "activation=relu", "activation.start=3")
    assert line.endswith("of activation=batch_topk or activation=topk, which is not chosen")
    line = refused("train", "models=tiny", "models.lms.chat.adapter=x")
    assert "is a setting of models=gemma3_270m or models=" in line
    assert line.endswith(", which is not chosen")


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "arguments", "example"),
    [
        ("evaluate", [], "crosscoder=outputs/"),
        ("train", ["data=files", "models=tiny"], "data.corpora.0.paths=[notes.txt"),
        ("train", ["data=store"], "data.train=stores/train"),
        ("train", ["data=store", "data.train=x"], "data.heldout=stores/heldout"),
    ],
)
def test_a_missing_value_gets_an_example(refused, tmp_path, config, arguments, example):
    if config == "train":
        arguments = [*arguments, f"hydra.run.dir={tmp_path}"]
    line = refused(config, *arguments)
    assert " is not set: it is " in line
    assert example in line


@pytest.mark.parametrize("name", ["outputs/RUN", "owner/name", "RUN"])
def test_a_crosscoder_without_its_key_gets_the_key(refused, name):
    assert refused("evaluate", name) == f"error: '{name}' is no setting: write crosscoder={name}"


def test_an_argument_without_a_value_is_explained(refused):
    assert refused("train", "outputs/RUN").endswith("write resume=outputs/RUN to continue that run")
    assert refused("train", "n_latents") == "error: 'n_latents' has no value: write n_latents=VALUE"
    assert refused("train", "n_latent").endswith("write KEY=VALUE; did you mean n_latents?")


def test_a_value_that_cannot_be_read_is_shown(refused):
    assert refused("train", "eval=[nulls").startswith("error: cannot read 'eval=[nulls' (")


@pytest.mark.parametrize("argument", ["=3", "=", "~", "~=3", "+=3", "++=3", "@=3", "+@a=3", ""])
@pytest.mark.parametrize("config", COMMANDS)
def test_a_value_without_a_key_is_explained(refused, config, argument):
    assert refused(config, argument) == f"error: {argument!r} is no setting: write KEY=VALUE"


@pytest.mark.parametrize("argument", ["models=null", "models=3", "models@=3", "eval=true"])
def test_a_choice_that_is_no_name_lists_the_choices(refused, argument):
    line = refused("train", "debug=smoke", argument)
    group = argument.partition("=")[0].rstrip("@")
    assert line.startswith(f"error: {group} is the name of a choice (")
    assert line.endswith(f"not {argument.partition('=')[2]}")


@pytest.mark.parametrize(("argument", "name"), [("eval=", ""), ("models=../x", "../x")])
def test_a_choice_that_is_no_file_lists_the_choices(refused, argument, name):
    assert refused("train", argument).startswith(f"error: no {argument.partition('=')[0]} '{name}'")


@pytest.mark.parametrize("argument", ["hydra=3", "--shell-completion"])
def test_what_hydra_itself_cannot_read_is_one_line(refused, argument):
    assert refused("train", argument).startswith("error: cannot read the command line: ")


@pytest.mark.parametrize(
    "value", ["", "null", "3", "true", "1.5", "[]", "[null]", "[a,3]", "{a: 3}", '"  "']
)
def test_a_crosscoder_that_is_no_name_is_refused(refused, value):
    assert refused("evaluate", f"crosscoder={value}").startswith(
        "error: crosscoder is a run folder"
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=abc", "seed is a whole number from 0, not 'abc'"),
        ("store=3", "store is a name or null, not 3"),
        ("store=", "store is a name or null, not ''"),
        ("pack=3", "pack is true or false, not 3"),
        ("trust_models=yes", "trust_models is true or false, not 'yes'"),
        ("recipe=3", "recipe is a list of settings of train.py, e.g. [lr=1e-3], not 3"),
        ("analysis=3", "analysis is a group of settings, e.g. analysis.n_resamples=100, not 3"),
    ],
)
def test_settings_of_an_evaluation_are_checked_by_type(refused, argument, message):
    assert refused("evaluate", "crosscoder=x", argument) == f"error: {message}"


@pytest.mark.parametrize("name", ["recipe", "init", "schedule", "analysis", "harvest"])
def test_a_group_of_settings_is_no_value(refused, tmp_path, name):
    line = refused("train", "debug=smoke", f"{name}=3", f"hydra.run.dir={tmp_path}")
    assert line == f"error: {name} is a group of settings, {name}.KEY=VALUE each, not 3"


@pytest.mark.parametrize("value", ["", "null", "3"])
def test_a_run_is_a_name(refused, tmp_path, value):
    line = refused("train", "debug=smoke", f"run={value}", f"hydra.run.dir={tmp_path}")
    assert line.startswith("error: run is the name of a folder, e.g. outputs/first, not ")


@pytest.mark.parametrize("name", ["outputs/RUN", "a/b/c", "./x", '"~/no/where"', "/no/where"])
def test_a_missing_folder_is_not_looked_up_on_the_hub(refused, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)  # the checkout may have an outputs/RUN
    monkeypatch.setattr(
        "crosscoder.formats.locate.download_snapshot", lambda *_: pytest.fail("asked the hub")
    )
    assert "there is no such folder" in refused("evaluate", f"crosscoder={name}")
