"""Evals run independently: a failure is one line and an exit code, a finished result is saved."""

from dataclasses import replace

import pytest

from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import Result, Runner
from crosscoder.evals.support.optional import OptionalPart, OptionalSteps


@pytest.fixture(scope="module")
def context(context):
    """Give the crosscoder the checksums of a saved one."""
    context.crosscoder.provenance["sha256"] = {"model.safetensors": "ab", "config.json": "cd"}
    return context


def returns(result: Result):
    return lambda context: result


def raises(error: BaseException):
    def evaluate(context):
        raise error

    return evaluate


def lines(capsys) -> list[list[str]]:
    shown = capsys.readouterr()
    return [[line for line in text.splitlines() if line.strip()] for text in (shown.out, shown.err)]


def test_a_failed_eval_does_not_stop_the_others(context, tmp_path, capsys):
    evals = {
        "first": returns(Result("first", {"x": 1.0})),
        "users": raises(UserError("no such file\nat all")),
        "bug": raises(AttributeError("'GPTNeoXModel' object has no attribute 'norm'")),
        "unsuited": raises(NotApplicable("there are no models")),
        "last": returns(Result("last", {"y": 2.0})),
    }
    seen = []
    outcome = Runner(tmp_path, False, lambda result, path: seen.append(path)).run(evals, context)
    assert [result.name for result in outcome.results] == ["first", "last"]
    assert outcome.failed == ["users", "bug"]
    assert seen == [tmp_path / "first.json", tmp_path / "last.json"]
    out, err = lines(capsys)
    assert out == ["unsuited is left out: there are no models"]
    file = tmp_path / "bug.error.txt"
    assert err == [
        "error: users: no such file at all",
        "error: bug: AttributeError: 'GPTNeoXModel' object has no attribute 'norm'; "
        f"the traceback is in {file}",
    ]
    assert "Traceback" in file.read_text()
    with pytest.raises(SystemExit) as end:
        outcome.exit_if_failed()
    assert end.value.code == 1


def test_a_chosen_eval_that_is_not_applicable_is_an_error(context, tmp_path, capsys):
    outcome = Runner(tmp_path, is_asked=True).run(
        {"unsuited": raises(NotApplicable("no models"))}, context
    )
    assert outcome.failed == ["unsuited"]
    assert lines(capsys) == [[], ["error: unsuited: no models"]]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(130)])
def test_ctrl_c_stops_all(context, tmp_path, end):
    with pytest.raises(type(end)):
        Runner(tmp_path).run({"stopped": raises(end), "next": returns(Result("next", {}))}, context)
    assert not (tmp_path / "next.json").exists()


def test_each_result_is_saved_before_the_next_eval_and_names_its_crosscoder(context, tmp_path):
    def second(context):
        assert (
            Result.load(tmp_path / "first.json").meta["crosscoder_sha256"]
            == context.crosscoder_sha256
        )
        return Result("second", {})

    assert len(context.crosscoder_sha256) == 64
    assert (
        not Runner(tmp_path)
        .run({"first": returns(Result("first", {})), "second": second}, context)
        .failed
    )


def test_an_eval_that_works_again_leaves_no_old_traceback(context, tmp_path):
    runner = Runner(tmp_path)
    runner.run({"one": raises(KeyError("x"))}, context)
    assert (tmp_path / "one.error.txt").exists()
    runner.run({"one": returns(Result("one", {}))}, context)
    assert not (tmp_path / "one.error.txt").exists()


def test_a_step_that_fails_is_reported_and_the_rest_is_saved(context, tmp_path, capsys):
    steps = OptionalSteps()
    assert steps.attempt("whole", lambda: 5) == 5
    assert steps.attempt("unsuited", lambda: raises(NotApplicable("other markers"))(None)) is None
    assert steps.attempt("lens", lambda: raises(IndexError("out of range"))(None)) is None
    result = Result("diff", {"x": 1.0}, meta={"left_out": steps.reasons}, errors=steps.errors)
    outcome = Runner(tmp_path).run({"diff": returns(result)}, context)
    assert outcome.failed == ["diff"]
    assert Result.load(tmp_path / "diff.json").scalars == {"x": 1.0}
    out, err = lines(capsys)
    assert out == ["diff, unsuited is left out: other markers"]
    assert err == [
        "error: diff, lens: IndexError: out of range; "
        f"the traceback is in {tmp_path / 'diff.error.txt'}"
    ]


def test_an_optional_part_fails_alone(unchecked):
    class Part:
        seen = 0

        def update(self, batch) -> None:
            self.seen += 1
            raise ValueError("a bug")

        def columns(self):
            raise AssertionError

    part = Part()
    optional = OptionalPart(part)
    optional.update(None)
    optional.update(None)
    assert part.seen == 1
    assert isinstance(optional.error, ValueError)
    assert optional.columns() == {}


def test_results_are_stamped_with_what_was_evaluated_and_how_long_it_took(context, tmp_path):
    own = Result("own", {}, meta={"seed": 7, "seconds": 100.0, "n_tokens": 5})
    evals = {"bare": returns(Result("bare", {})), "own": returns(own)}
    Runner(tmp_path).run(evals, replace(context, seed=3))
    bare = Result.load(tmp_path / "bare.json").meta
    assert set(bare) == {"store", "seconds", "seed", "crosscoder_sha256"}
    assert bare["store"] == str(context.heldout.folder)
    assert bare["seed"] == 3
    assert 0 <= bare["seconds"] < 10
    kept = Result.load(tmp_path / "own.json").meta
    assert (kept["seed"], kept["seconds"], kept["n_tokens"]) == (7, 100.0, 5)
