import json

import pytest

from crosscoder.runs import Run, write_json


def test_everything_lies_where_the_design_says(tmp_path):
    run = Run(tmp_path / "run")
    run.write_metrics({"l0": 3.0})
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"l0": 3.0}
    assert (run.crosscoder, run.checkpoints, run.results) == tuple(
        tmp_path / "run" / name for name in ("crosscoder", "checkpoints", "results")
    )


@pytest.mark.faults
def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "meta.json"
    write_json(path, {"complete": True})
    with pytest.raises(TypeError):
        write_json(path, {"complete": object()})
    assert json.loads(path.read_text()) == {"complete": True}
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_is_written_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5], "b": (float("inf"), None)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.5], "b": [None, None]}
