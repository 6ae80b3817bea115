"""Curves on Weights & Biases, kept offline if the server fails, so that they never stop a run."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, WandbLogger

from crosscoder.errors import first_line

log = logging.getLogger(__name__)
# mode to fall back to -> where the curves are then
FALLBACKS = {"offline": "kept offline, for `wandb sync`", "disabled": "in curves.json alone"}


class WandbCurves(WandbLogger):
    """Lightning's logger, with a fallback to offline if the server fails or refuses the run.

    It takes the settings of WandbLogger, among them `mode`: "online" or "offline".
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on, and W&B warns about it

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:  # type: ignore[override]
        """Return the W&B run, started at the first use."""
        for mode, place in FALLBACKS.items():
            try:
                return super().experiment
            except Exception as error:  # no network, a rejected key, no access to the project
                log.warning(
                    "W&B cannot log this run (%s): its curves are %s", first_line(error), place
                )
                self._wandb_init["mode"] = mode
        return super().experiment

    def log_summary(self, figures: Mapping[str, Any]) -> None:
        """Add figures to the summary of the W&B run, by which runs are compared."""
        if self._experiment is not None:
            self._experiment.summary.update(dict(figures))

    def finish(self, is_successful: bool) -> None:
        """End the W&B run, so that neither the next run of a sweep nor a signal finds it open."""
        if self._experiment is None:
            return
        experiment = self._experiment
        self._experiment = None
        experiment.finish(exit_code=0 if is_successful else 1)


@contextmanager
def open_logger(logger: Any, config: Any) -> Iterator[Callable[[Mapping], None]]:
    """Log the configuration of a run at its start, and end the logger's run with the context.

    Args:
        logger: Lightning's logger, or False.
        config: The resolved configuration, as plain data.

    Yields:
        A function that logs the final figures by name.
    """
    if isinstance(logger, Logger):
        with _warn_on_failure("configuration"):
            logger.log_hyperparams(config)

    def log_figures(figures: Mapping[str, Any]) -> None:
        if isinstance(logger, WandbCurves):
            with _warn_on_failure("final figures"):
                logger.log_summary(figures)

    is_successful = False
    try:
        yield log_figures
        is_successful = True
    finally:
        if isinstance(logger, WandbCurves):
            with _warn_on_failure("last curves"):
                logger.finish(is_successful)


@contextmanager
def _warn_on_failure(what: str) -> Iterator[None]:
    """Turn an error of a logger into a warning: no logger stops a run."""
    try:
        yield
    except Exception as error:  # the network is gone
        log.warning("the logger did not accept the run's %s (%s)", what, first_line(error))
