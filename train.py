"""Train a crosscoder on a pair of language models: harvest (or reuse), train, evaluate, write the run folder."""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crosscoder import kernels, processes
from crosscoder.errors import UserError, one_line
from crosscoder.evals import Subject
from crosscoder.model import Crosscoder
from crosscoder.report.closing import closing, harvested
from crosscoder.runs import Run
from crosscoder.sweeps import trial


def wandb_mode() -> str:
    """Online if Weights & Biases knows who you are, else offline; asked without prompting."""
    import wandb
    from wandb.errors import UsageError

    try:
        known = wandb.login(prompt=False)
    except UsageError:  # what it says without a terminal
        known = False
    return os.environ.get("WANDB_MODE", "online" if known else "offline")


def given() -> list[str]:
    """What the command line sets."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def begun(folder: str, own: str) -> DictConfig:
    """The configuration of a run that is to go on, as it was begun; that of a sweep's `own` run has been compared."""
    run = Run(folder)
    others = [setting for setting in given() if not setting.lstrip("+").startswith(("resume=", "hydra."))]
    if others and folder != own:
        raise UserError(f"resume goes on with a run as it was begun; {' '.join(others)} would make it another one")
    if not run.config.exists():
        raise UserError(f"no run to resume at {folder}: there is no {run.config.name}")
    cfg = DictConfig(OmegaConf.load(run.config))
    cfg.run = folder
    return cfg


os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, one_line shows them
OmegaConf.register_new_resolver("wandb_mode", wandb_mode, replace=True)


@one_line(HydraException, OmegaConfBaseException)
@hydra.main(config_path="conf", config_name="train", version_base="1.3")
@trial
@one_line(HydraException, OmegaConfBaseException)
def main(cfg: DictConfig) -> None:
    """One run: begun, or gone on with, by this process or by those that torchrun or SLURM started together."""
    if resume := cfg.resume is not None:
        cfg = begun(cfg.resume, cfg.run)
    else:
        cfg.given = given()
        OmegaConf.resolve(cfg)
    OmegaConf.set_readonly(cfg, True)
    with processes.joined(cfg.trainer.accelerator):
        folder = processes.agreed(cfg.run)
        if folder != cfg.run:
            Path(cfg.run).rmdir()  # Hydra's, of another second
        run = Run(folder)
        with run.claimed() if processes.rank() == 0 else nullcontext():
            train(cfg, run, resume)


def train(cfg: DictConfig, run: Run, resume: bool) -> None:
    """Harvest, train, evaluate, write the run folder; or go on with what is left of that."""
    start = time.perf_counter()
    first = processes.rank() == 0
    if resume and run.metrics.exists():
        print(f"{run.folder} is finished; to evaluate it: python evaluate.py crosscoder={run.folder}" * first)
        return
    if first:
        run.begin(OmegaConf.to_yaml(cfg))
    kernels.asked()  # what cannot be had, or makes no sense, is refused before the harvest, not after
    recipe = instantiate(cfg.recipe, _convert_="all")

    # text → tokens → activations on disk
    pair, data, harvest = (instantiate(part, _convert_="all") for part in (cfg.models, cfg.data, cfg.harvest))
    sizes = {"train": cfg.n_tokens, "validation": cfg.n_validation, "heldout": cfg.n_heldout}
    splits = data.stores(pair, list(cfg.hookpoints), cfg.sources, harvest, sizes)
    harvest_seconds = time.perf_counter() - start
    if cfg.stage == "harvest":
        if first:
            harvested(splits, harvest_seconds)
        return

    # activations → crosscoder
    given = splits.train, splits.validation, splits.sources, run.folder
    crosscoder, figures = recipe(*given, logger=instantiate(cfg.logger), resume=resume, stream=splits.stream)
    processes.part()
    if not first:
        return
    crosscoder.provenance |= splits.provenance() | {"settings": list(cfg.given)}
    crosscoder.save_pretrained(run.crosscoder)

    # held-out documents → results
    crosscoder = Crosscoder.from_pretrained(run.crosscoder)
    subject = Subject(crosscoder, splits.heldout, pair, cfg.seed, lambda: recipe, run.folder)
    results = [instantiate(part, _convert_="all")(subject) for part in cfg.eval.values()]
    closing(run, splits, results, {"harvest_seconds": harvest_seconds, **figures})


if __name__ == "__main__":
    main()
