"""The command train.py: check what is asked for, then start or resume one run."""

import os
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crosscoder.cli.advice import explain_mistakes
from crosscoder.cli.command import (
    accept_old_names,
    list_overrides,
    load_resume_config,
    require_run_name,
)
from crosscoder.cli.help import answer_help
from crosscoder.cli.targets import CONF
from crosscoder.errors import exit_on_error
from crosscoder.io.run_dir import Run
from crosscoder.sweeps import sweep_job

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on; exit_on_error prints them


@answer_help(CONF, "train")
@accept_old_names
@exit_on_error(HydraException, OmegaConfBaseException)
@explain_mistakes(CONF, "train")
@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
@sweep_job
@exit_on_error(HydraException, OmegaConfBaseException)
@explain_mistakes(CONF, "train")
def main(cfg: DictConfig) -> None:
    """Start or resume one run (single process, torchrun or SLURM)."""
    require_run_name(cfg.run)
    is_resumed = cfg.resume is not None and cfg.resume != cfg.run  # a sweep resumes its own jobs
    if is_resumed:
        cfg = load_resume_config(str(cfg.resume))
        advice = (
            "its config.yaml was edited after the run started: restore it, or start another run"
        )
    else:
        cfg.overrides = list_overrides()
        OmegaConf.resolve(cfg)
        advice = (
            f"use another folder (run=FOLDER), resume that run (resume={cfg.run}), or delete it"
        )
    OmegaConf.set_readonly(cfg, True)

    # imports take seconds: --help and a mistyped key wait for none of them, refused settings only
    # for torch
    from crosscoder.training.settings import check_request

    check_request(cfg)
    instantiate(cfg.recipe, _convert_="all", trainer=None)  # checks how settings fit together

    from crosscoder import distributed
    from crosscoder.cli.pipeline import train

    with distributed.init_distributed(cfg.trainer.accelerator):
        folder = distributed.broadcast_object(cfg.run)
        if folder != cfg.run:
            Path(cfg.run).rmdir()  # Hydra named this process's folder by another second
        run = Run(folder)
        with run.lock() if distributed.rank() == 0 else nullcontext():
            train(cfg, run, advice)
