"""One run from its configuration: harvest, train, evaluate, write the run folder."""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from crosscoder import distributed
from crosscoder.analysis.analysis import Analysis
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.cli.analysis_settings import build_analysis
from crosscoder.cli.command import has_chosen_evals
from crosscoder.cli.targets import remember_targets
from crosscoder.core import kernels
from crosscoder.core.arithmetic import choose_sum_device
from crosscoder.data import Harvest, Splits
from crosscoder.errors import first_line
from crosscoder.evals import Eval, EvalContext, EvalOutcome, Result, Runner
from crosscoder.evals.support.plan import plan_evals
from crosscoder.evals.support.run_metrics import write_run_metrics
from crosscoder.formats import load
from crosscoder.io.identity import Identity, record_inputs, require_same, start_or_resume
from crosscoder.io.run_dir import Run, make_folder
from crosscoder.lm import Pair, remember_models
from crosscoder.report.terminal.summaries import (
    print_arithmetic,
    print_finished,
    print_harvest_summary,
    print_plan,
    print_training_summary,
)
from crosscoder.training import Recipe, describe_inputs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunObjects:
    """Objects that a configuration describes."""

    recipe: Recipe
    pair: Pair
    data: Any
    harvest: Harvest
    analysis: Analysis
    behaviour: BehaviourSpec | None
    evals: dict[str, Eval]


def train(cfg: DictConfig, run: Run, advice: str) -> None:
    """Harvest, train and evaluate; of a resumed run only what is not done yet.

    Args:
        cfg: The resolved configuration.
        run: The run folder.
        advice: What the user can do if the folder holds another run.
    """
    start = time.perf_counter()
    is_first = distributed.rank() == 0
    identity = Identity.from_config(OmegaConf.to_container(cfg))
    require_same(run, identity, advice)
    if run.is_finished():
        if is_first:
            print_finished(run)
        return
    objects = build_objects(cfg)
    is_resumed = start_run(cfg, run, identity, objects, advice)
    if is_first:
        print_arithmetic(objects.pair)

    # text → tokens → activations on disk
    sizes = {"train": cfg.n_tokens, "validation": cfg.n_validation, "heldout": cfg.n_heldout}
    splits = objects.data.make_splits(
        objects.pair, list(cfg.hookpoints), cfg.sources, objects.harvest, sizes
    )
    harvest_seconds = time.perf_counter() - start
    if cfg.stage == "harvest":
        if is_first:
            print_harvest_summary(splits, harvest_seconds)
        return

    # activations → crosscoder
    from crosscoder.training.loggers import open_logger  # imports lightning, which takes seconds

    identity = identity.with_inputs(describe_inputs(splits))
    if is_first:
        record_inputs(run, identity)
    provenance = splits.provenance(run.folder) | {"settings": list(cfg.overrides)}
    logger = make_logger(cfg.logger)
    with open_logger(logger if is_first else False, OmegaConf.to_container(cfg)) as log_figures:
        crosscoder, figures = objects.recipe.train(
            splits.train,
            splits.validation,
            splits.sources,
            run.folder,
            logger=logger,
            resume=is_resumed,
            stream=splits.stream,
            identity=identity,
        )
        distributed.shutdown()
        if not is_first:
            return
        crosscoder.provenance |= provenance
        crosscoder.save_pretrained(run.crosscoder)

        # held-out documents → results
        timings = {"harvest_seconds": harvest_seconds, **figures}
        outcome = evaluate(cfg, run, objects, splits, timings)
        log_figures(collect_figures(run, outcome.results))
        outcome.exit_if_failed()


def build_objects(cfg: DictConfig) -> RunObjects:
    """Build the objects of a run; settings that cannot work are refused here.

    Raises:
        UserError: A setting cannot work.
    """
    kernels.requested_backend()
    behaviour = cfg.get("behaviour")  # a run of an older version has none
    return RunObjects(
        recipe=instantiate(cfg.recipe, _convert_="all"),
        pair=instantiate(cfg.models, _convert_="all"),
        data=instantiate(cfg.data, _convert_="all"),
        harvest=instantiate(cfg.harvest, _convert_="all"),
        analysis=build_analysis(cfg),
        behaviour=instantiate(behaviour, _convert_="all") if behaviour else None,
        evals={name: instantiate(node, _convert_="all") for name, node in cfg.eval.items()},
    )


def start_run(
    cfg: DictConfig, run: Run, identity: Identity, objects: RunObjects, advice: str
) -> bool:
    """Rehearse a training step, then write the run's configuration and identity.

    Returns:
        True if the folder holds this run already, so that it is resumed.
    """
    make_folder("harvest.root", objects.harvest.root)
    if cfg.stage == "all":
        sources = objects.data.get_sources(objects.pair, list(cfg.hookpoints), cfg.sources)
        objects.recipe.rehearse(sources)
    is_first = distributed.rank() == 0
    is_resumed = is_first and start_or_resume(run, identity, OmegaConf.to_yaml(cfg), advice)
    is_resumed = distributed.broadcast_object(is_resumed)
    if is_first:
        remember_models(objects.pair.lms)
        remember_targets(OmegaConf.to_container(cfg), OmegaConf.to_yaml(cfg))
    return is_resumed


def evaluate(
    cfg: DictConfig, run: Run, objects: RunObjects, splits: Splits, timings: dict[str, Any]
) -> EvalOutcome:
    """Evaluate the saved crosscoder; write metrics.json and print the summary."""
    activation_module = type(objects.recipe.activation).__module__
    crosscoder = load(run.crosscoder, activation_module=activation_module)
    context = EvalContext(
        crosscoder.to(choose_sum_device(objects.pair.device)),
        splits.heldout,
        objects.pair,
        cfg.seed,
        load_recipe=lambda: objects.recipe,
        folder=run.folder,
        analysis=objects.analysis,
        behaviour=objects.behaviour,
    )
    runner = Runner(run.results, has_chosen_evals(list(cfg.overrides)))
    rate = timings["tokens_per_second"]
    plan = plan_evals(objects.evals, context, rate)
    if plan.has_training:
        print_plan(plan)
    outcome = runner.run(objects.evals, context)
    tokens_sha256 = splits.train.tokens_sha256
    write_run_metrics(run, outcome.results, timings, tokens_sha256, context.crosscoder_sha256)
    next_plan = plan_evals(compose_default_evals(), context, rate)
    print_training_summary(run, splits, outcome.results, timings, next_plan)
    return outcome


def compose_default_evals() -> dict[str, Eval]:
    """Build the evals that evaluate.py runs by default."""
    if not GlobalHydra.instance().is_initialized():  # train() was called with a configuration
        return {}
    try:
        evals = compose("evaluate").eval
    except HydraException:  # the user has another folder of configurations
        return {}
    return {name: instantiate(node, _convert_="all") for name, node in evals.items()}


def collect_figures(run: Run, results: Iterable[Result]) -> dict[str, Any]:
    """Return the figures of metrics.json, and the scalars of all evals as `<eval>/<figure>`."""
    figures = run.read_metrics()
    for result in results:
        for name, value in result.scalars.items():
            figures[f"{result.name}/{name}"] = value
    return figures


def make_logger(settings: DictConfig) -> Any:
    """Build the logger of training curves; W&B is asked for its mode only here."""
    is_undecided = distributed.rank() == 0 and settings.get("mode") == "auto"
    mode = {"mode": choose_wandb_mode()} if is_undecided else {}
    return instantiate(settings, _convert_="all", **mode)


def choose_wandb_mode() -> str:
    """Return "online" if W&B accepts the user's key within seconds, otherwise "offline".

    `WANDB_MODE` decides if it is set. Nobody is prompted for a key.
    """
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    import wandb

    os.environ.setdefault("WANDB_HTTP_TIMEOUT", "5")
    try:
        is_logged_in = wandb.login(prompt=False)
    except Exception as error:  # no network, or a rejected key
        log.warning("cannot log in to W&B (%s): curves are kept offline", first_line(error))
        return "offline"
    return "online" if is_logged_in else "offline"
