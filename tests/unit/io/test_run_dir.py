import json

import pytest

from crosscoder.errors import UserError
from crosscoder.io.run_dir import Run, make_folder, write_json


def test_metrics_are_one_flat_object_in_the_file_that_other_tools_read(tmp_path):
    run = Run(tmp_path / "run")
    run.write_config("seed: 0\n")
    metrics = {"fve/chat": 0.9, "l0": 3.0, "n_latents": 32, "activation": "topk"}
    run.write_metrics(metrics)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert Run(tmp_path / "run").read_metrics() == metrics
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 0\n"


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


@pytest.mark.faults
@pytest.mark.parametrize(
    "folder", ["/proc/nowhere", "{file}", "{file}/below", "x\0y", "~nobodyofthisname/x"]
)
def test_a_folder_that_cannot_be_made_is_one_line_with_the_setting(tmp_path, folder):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=r"harvest\.root"):
        make_folder("harvest.root", folder.format(file=file))
    assert make_folder("run", tmp_path / "a" / "b").is_dir()


def test_links_that_wandb_makes_to_its_logs_do_not_stop_a_run(tmp_path):
    run = Run(tmp_path / "run")
    logs = run.folder / "wandb" / "offline-run-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(tmp_path / "cache" / "debug-core.log")
    with run.lock():
        pass


@pytest.mark.faults
@pytest.mark.parametrize(
    "name", ["wandb", "logs", ".lock", "checkpoints", "beside/x-1/checkpoints"]
)
def test_a_run_with_a_link_that_leads_out_is_not_begun(tmp_path, name):
    run = Run(tmp_path / "run")
    (run.folder / name).parent.mkdir(parents=True)
    (tmp_path / "mine").touch()
    (run.folder / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="leads out of its folder"), run.lock():
        pass
    assert (tmp_path / "mine").read_bytes() == b""


@pytest.mark.faults
@pytest.mark.parametrize(
    "text", ["[]", '{"a": [1]}', '{"a": NaN}', '{"a": 1e999}', "{", '{"a": "\\ud800"}']
)
def test_figures_that_are_none_are_one_line(tmp_path, text):
    run = Run(tmp_path)
    run.metrics.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json") as error:
        run.read_metrics()
    assert "\n" not in str(error.value)
