"""Jobs of a Hydra multirun, and the callback at its end.

The same multirun can be started again: a finished run is not repeated, and an unfinished one is
resumed. Modules that take seconds to import are imported inside functions, so that `--help` and a
single run need not wait for them.
"""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from crosscoder.errors import UserError, exit_on_error
from crosscoder.io.identity import Identity, require_same
from crosscoder.io.run_dir import Run
from crosscoder.runtime import signals


def sweep_job(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], Any]:
    """Decorate the entry point of a run, so that it can be a job of a multirun.

    As a job, it resumes its run or skips it if it is finished. If it fails, the other jobs go on.
    It returns the figures that the sweeper optimises, which `objective` names.
    """

    @functools.wraps(main)
    @exit_on_error()
    def job(cfg: DictConfig) -> Any:
        if not _is_multirun():
            return main(cfg)
        from crosscoder import distributed
        from crosscoder.sweeps.figures import read_objective

        signals.listen()  # a launcher may run this job in its own process
        if distributed.launched_processes()[0] > 1:
            raise UserError(
                "sweep jobs are single-process: use torchrun without -m for one distributed run"
            )
        run = Run(cfg.run)
        with run.lock():
            if run.config.exists():
                _require_same_settings(run, cfg)
                cfg.resume = cfg.run
            if not run.metrics.exists():
                _run_reporting_errors(main, cfg)
            return read_objective(run, cfg.objective)

    return job


def _is_multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _run_reporting_errors(main: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """Run a job. Print its error instead of raising it, so that the other jobs go on."""
    try:
        main(cfg)
    except SystemExit as end:
        if end.code == signals.EXIT_CODE:
            signals.leave_if_child()
        if end.code != 1:  # 1: an error that has been reported already
            raise
    except Exception:
        traceback.print_exc()


def _require_same_settings(run: Run, cfg: DictConfig) -> None:
    """Refuse a run folder with a run of other settings."""
    identity = Identity.from_config(OmegaConf.to_container(cfg, resolve=True))
    require_same(
        run,
        identity,
        advice="choose another hydra.sweep.dir, or name runs by what varies "
        "(hydra.sweep.subdir, as in conf/sweep)",
    )


class SweepTable(Callback):
    """The Pareto table at the end of a multirun: one row per run, with the settings that vary.

    The table is printed, and written to the sweep's folder as `sweep.json` and `pareto.html`.
    Everything is read from the disk, since launchers may run jobs in other processes.
    """

    @exit_on_error()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the table.

        Raises:
            UserError: Some runs are not finished; the message names them.
        """
        from crosscoder.sweeps.pareto import list_runs, summarise

        folder = Path(config.hydra.sweep.dir)
        runs = list_runs(folder)
        if runs and config.get("stage") != "harvest":
            summarise(folder, runs)
