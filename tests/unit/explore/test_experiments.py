"""An experiment is saved, read again, and reproduced by its code."""

import contextlib
import io
import json

import pytest

from crosscoder.errors import UserError
from crosscoder.explore.code import write_code
from crosscoder.explore.edits import Edits, LatentEdit
from crosscoder.explore.experiments import list_experiments, load_experiment, save_experiment
from crosscoder.explore.generate import Request, generate
from crosscoder.explore.jobs import Job
from crosscoder.explore.prompts import Prompt
from crosscoder.lm.sampling import Sampling

HOSTILE = "'\"\\\n{}</script>\"\"\"); raise SystemExit('''"
EDITS = Edits([LatentEdit(5, 0.0), LatentEdit(9, 2.5, "chat")], "first-4")
SAMPLING = Sampling(max_new_tokens=6, temperature=0.9, seed=3)
PROMPTS = [
    Prompt("chat", ["Why?", "Because.", f"And {HOSTILE}"], HOSTILE),
    Prompt("text", [HOSTILE]),
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["chat", "text"])
def test_the_code_prints_the_same_answers(session, prompt):
    request = Request(prompt, EDITS, SAMPLING)
    job = Job(lambda job: None)
    generate(session, request, job)
    ids: dict[str, list[int]] = {}
    for event in job.events[1:]:
        ids.setdefault(event["column"], []).append(event["id"])
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(write_code(session, request), names)
    for column, tokens in ids.items():
        text = session.pair.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert names["answers"][column] == text
        assert f"{column}: {text}" in printed.getvalue()
    assert set(ids) == set(names["answers"])


def test_what_is_saved_is_read_again(session):
    request = Request(PROMPTS[0], EDITS, SAMPLING)
    saved = save_experiment(session.run, "without-5", request, {"chat": HOSTILE})
    loaded = load_experiment(session.run, "without-5")
    assert loaded == saved
    assert loaded.request == request
    assert loaded.created[:2] == "20"
    assert len(loaded.crosscoder_sha256) == 64
    assert "without-5" in list_experiments(session.run)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "x.json", "-x", "x" * 65, "x\n"])
def test_a_name_that_could_leave_the_folder_is_refused(session, name):
    with pytest.raises(UserError, match="the name of an experiment"):
        save_experiment(session.run, name, Request(PROMPTS[1]), {})
    with pytest.raises(UserError, match="the name of an experiment"):
        load_experiment(session.run, name)


def test_files_that_do_not_fit_are_refused(session):
    folder = session.run.path("experiments")
    save_experiment(session.run, "good", Request(PROMPTS[1]), {})
    content = json.loads((folder / "good.json").read_text())
    (folder / "other.json").write_text(json.dumps(content | {"crosscoder_sha256": "0" * 64}))
    (folder / "broken.json").write_text("{")
    with pytest.raises(UserError, match="another crosscoder"):
        load_experiment(session.run, "other")
    with pytest.raises(UserError, match="broken"):
        load_experiment(session.run, "broken")
    with pytest.raises(UserError, match="no experiment 'missing'"):
        load_experiment(session.run, "missing")
