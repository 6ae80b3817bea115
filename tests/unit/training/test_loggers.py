"""What a logger gets besides the curves: the configuration, the final figures, and an end."""

import logging

import pytest
import wandb
from lightning.pytorch.loggers import Logger

from crosscoder.training.loggers import WandbCurves, open_logger
from tests.helpers.wandb_files import read_offline_run


class FakeLogger(Logger):
    """Logger that keeps the configuration."""

    name = "fake"
    version = "0"

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.config = {}

    def log_hyperparams(self, params) -> None:
        if self.error:
            raise self.error
        self.config = params

    def log_metrics(self, metrics, step=None) -> None: ...


class FakeRun:
    """W&B run that keeps its summary and its exit code."""

    def __init__(self) -> None:
        self.summary = {}
        self.exit_codes = []

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


def test_any_logger_gets_the_configuration():
    logger = FakeLogger()
    with open_logger(logger, {"k": 3}) as log_figures:
        log_figures({"l0": 3.0})  # it has no place for figures
    assert logger.config == {"k": 3}


def test_a_failing_logger_does_not_stop_a_run(caplog):
    with caplog.at_level(logging.WARNING), open_logger(FakeLogger(OSError("no network")), {}):
        pass
    assert "did not accept the run's configuration (no network)" in caplog.text


def test_no_logger_is_no_logger():
    with open_logger(False, {"k": 3}) as log_figures:
        log_figures({"l0": 3.0})


@pytest.mark.parametrize(("error", "code"), [(None, 0), (SystemExit(130), 1)])
def test_the_run_ends_with_the_context(tmp_path, monkeypatch, error, code):
    logger = WandbCurves(save_dir=str(tmp_path), mode="disabled")
    run = FakeRun()
    monkeypatch.setattr(logger, "log_hyperparams", lambda config: None)
    logger._experiment = run
    try:
        with open_logger(logger, {}) as log_figures:
            log_figures({"l0": 3.0})
            if error:
                raise error
    except SystemExit:
        pass
    assert run.exit_codes == [code]
    assert run.summary == {"l0": 3.0}


@pytest.mark.long
def test_files_of_an_offline_run_hold_configuration_curves_and_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbCurves(save_dir=str(tmp_path), project="crosscoder", mode="offline")
    with open_logger(logger, {"n_latents": 32, "activation": {"k": 3}}) as log_figures:
        logger.log_metrics({"train/fve/difference": 0.25}, step=1)
        log_figures({"fve/difference": 0.5})
    wandb.teardown()
    config, history, summary = read_offline_run(tmp_path)
    assert config["n_latents"] == 32
    assert config["activation"] == {"k": 3}
    assert history["train/fve/difference"] == 0.25
    assert summary["fve/difference"] == 0.5
