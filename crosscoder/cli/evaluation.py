"""Evaluate saved crosscoders: their folders, held-out activations and, where needed, the models."""

import logging
from pathlib import Path

from hydra import compose
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from crosscoder.analysis.calibration import FILE as CALIBRATION_FILE
from crosscoder.analysis.calibration import Calibration
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.cli.analysis_settings import build_analysis
from crosscoder.cli.command import has_chosen_evals, list_overrides, read_config
from crosscoder.core.arithmetic import choose_sum_device
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.data.storage.copying import copy_store
from crosscoder.errors import UserError, describe_error, first_line, print_error
from crosscoder.evals import EvalContext, EvalOutcome, Result, Runner
from crosscoder.evals.support.plan import plan_evals
from crosscoder.evals.support.seeds import summarise_seeds
from crosscoder.evals.support.stores import find_run_folder, open_heldout
from crosscoder.formats import load
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.lm.residency import choose_device
from crosscoder.report.html.page import write_report
from crosscoder.report.terminal.summaries import print_plan
from crosscoder.report.terminal.tables import console, show_result
from crosscoder.training import Recipe, read_settings

log = logging.getLogger(__name__)


def evaluate_all(cfg: DictConfig, names: list[str]) -> None:
    """Evaluate crosscoders one after the other, and compare them if there are several.

    One that cannot be evaluated is reported; the others are evaluated.

    Raises:
        UserError: The only crosscoder cannot be evaluated.
        SystemExit: With code 1, if anything failed.
    """
    outcomes: dict[str, EvalOutcome] = {}
    for name in names:
        try:
            outcomes[name] = evaluate(cfg, name)
        except UserError as error:
            if len(names) == 1:
                raise
            print_error(f"{name}: {error}")
            outcomes[name] = EvalOutcome(failed=[name])
    results = {name: one.results for name, one in outcomes.items() if one.results}
    if len(results) > 1:
        first = next(iter(results))
        for result in summarise_seeds(results):
            show_saved(result, result.save(run_of(first).results))
    for name in names:
        run = run_of(name)
        if run.has_results():
            console.print(f"to look at: {write_report(run)}", highlight=False, soft_wrap=True)
    for one in outcomes.values():
        one.exit_if_failed()


def evaluate(cfg: DictConfig, name: str) -> EvalOutcome:
    """Run every eval of the configuration on one crosscoder."""
    crosscoder = load(name, activation_module=cfg.activation_module)
    crosscoder.to(choose_sum_device(choose_device(cfg.device)))
    run = run_of(name)
    heldout = open_store(cfg, name, crosscoder, run)
    # the store knows which models were read; those that a foreign crosscoder names may be absent
    spec = heldout.meta.get("pair") or crosscoder.provenance.get("pair")
    pair = Pair.from_spec(spec, cfg.device, cfg.trust_models) if spec else None

    def load_recipe() -> Recipe:
        return compose_recipe(crosscoder, list(cfg.recipe))

    context = EvalContext(
        crosscoder,
        heldout,
        pair,
        cfg.seed,
        load_recipe=load_recipe,
        folder=run.folder,
        analysis=build_analysis(cfg),
        behaviour=load_behaviour(cfg, run),
        calibrations=load_calibrations(cfg.calibration, run, crosscoder),
    )
    evals = {key: instantiate(node, _convert_="all") for key, node in cfg.eval.items()}
    print_plan(plan_evals(evals, context, crosscoder.metrics.get("tokens_per_second")))
    is_asked = has_chosen_evals(list_overrides())
    return Runner(run.results, is_asked, show_saved).run(evals, context)


def open_store(cfg: DictConfig, name: str, crosscoder: Crosscoder, run: Run) -> Store:
    """Open the held-out activations; with `pack` copy them into the run folder."""
    heldout = open_heldout(run, crosscoder.provenance, cfg.store, name)
    heldout.require(crosscoder.sources)
    if not cfg.pack:
        return heldout
    heldout = copy_store(heldout, crosscoder.sources.names, find_run_folder(run).heldout)
    console.print(f"held-out activations: {heldout.folder}\n", highlight=False, soft_wrap=True)
    return heldout


def load_behaviour(cfg: DictConfig, run: Run) -> BehaviourSpec | None:
    """Load the chosen behaviour, or else the one that the run was trained with, if there is any."""
    if cfg.behaviour is not None:
        return instantiate(cfg.behaviour, _convert_="all")
    run = find_run_folder(run)
    if not run.config.is_file():
        return None
    try:
        saved = read_config(run).get("behaviour")
        return None if saved is None else instantiate(saved, _convert_="all")
    except (UserError, HydraException, OmegaConfBaseException) as error:
        log.warning(
            "the behaviour in %s cannot be used (%s): choose one by behaviour=NAME",
            run.config,
            first_line(error),
        )
        return None


def load_calibrations(name: str | None, run: Run, crosscoder: Crosscoder) -> list[Calibration]:
    """Load the calibration of the run that the user named, or else the run's own, if it has one.

    Args:
        name: Run whose calibration is used; None for the run's own.
        run: Run of the crosscoder.
        crosscoder: Crosscoder that is evaluated.

    Raises:
        UserError: The named run has no calibration, or one of another pair.
    """
    folder = find_run_folder(run_of(name) if name else run).folder
    if name is None and not (folder / CALIBRATION_FILE).is_file():
        return []
    calibration = Calibration.load(folder)
    pair = calibration.meta.get("pair")
    own = crosscoder.sources.describe()
    if pair != own:
        raise UserError(
            f"{folder / CALIBRATION_FILE} was made for {pair}, but this crosscoder has {own}"
        )
    return [calibration]


def compose_recipe(crosscoder: Crosscoder, overrides: list[str]) -> Recipe:
    """Compose the recipe that a crosscoder was trained with, changed by `overrides`."""
    saved = read_settings(crosscoder.provenance, most_latents=crosscoder.n_latents)
    settings = [f"n_latents={crosscoder.n_latents}", *saved, *overrides]
    try:
        return instantiate(compose("train", settings).recipe, _convert_="all")
    except (HydraException, OmegaConfBaseException) as error:
        reason = describe_error(error, (Exception,))
        raise UserError(f"cannot compose a recipe from {' '.join(settings)}: {reason}") from error


def show_saved(result: Result, path: Path) -> None:
    """Print a result and the path of its file."""
    show_result(result)
    console.print(f"{path}\n", highlight=False, soft_wrap=True)


def run_of(name: str) -> Run:
    """Return the run folder of the results: under outputs/ for a crosscoder from the hub."""
    if Path(name).is_dir():
        return Run(name)
    return Run(Path("outputs") / name.removeprefix("hf://").strip("/"))
