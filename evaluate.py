"""Evaluate saved crosscoders: reads their folders, their held-out activations and, where asked, the language models."""

import os
from pathlib import Path

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crosscoder.data import Store
from crosscoder.errors import NotApplicable, UserError, one_line
from crosscoder.evals import Result, Subject
from crosscoder.evals.seeds import across
from crosscoder.formats import load
from crosscoder.lm import Pair
from crosscoder.report.page import write_report
from crosscoder.report.tables import console, show_result
from crosscoder.runs import Run
from crosscoder.training import Recipe, settings_of

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, one_line shows them


@one_line(HydraException, OmegaConfBaseException)
@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
@one_line(HydraException, OmegaConfBaseException)
def main(cfg: DictConfig) -> None:
    """Load, evaluate, print, write results/ and report.html."""
    OmegaConf.set_readonly(cfg, True)
    names = [cfg.crosscoder] if isinstance(cfg.crosscoder, str) else list(cfg.crosscoder)
    results = {name: evaluate(cfg, name) for name in names}
    if len(names) > 1:
        for result in across(results):
            show_result(result)
            console.print(f"{result.save(run_of(names[0]).results)}\n")
    for name in names:
        console.print(f"to look at: {write_report(run_of(name))}")


def evaluate(cfg: DictConfig, name: str) -> list[Result]:
    """Every eval that is asked for on one crosscoder."""
    crosscoder, run = load(name), run_of(name)
    made_with = crosscoder.provenance
    if not (store := cfg.store or made_with.get("heldout")):
        raise UserError(f"{name} names no held-out store; give one with store=FOLDER")
    heldout = Store(store)
    heldout.require(crosscoder.sources)
    # what was read for the store; what a crosscoder from elsewhere names may not be on this machine
    spec = heldout.meta.get("pair") or made_with.get("pair")
    pair = Pair.from_spec(spec, cfg.device) if spec else None

    def recipe() -> Recipe:
        settings = [f"n_latents={crosscoder.n_latents}", *settings_of(made_with), *cfg.recipe]
        return instantiate(compose("train", [*settings, f"run={run.folder}"]).recipe, _convert_="all")

    subject = Subject(crosscoder, heldout, pair, cfg.seed, recipe, run.folder)
    asked = any(setting.startswith("eval=") for setting in HydraConfig.get().overrides.task)
    results = []
    for eval_name, part in cfg.eval.items():
        try:
            results.append(result := instantiate(part, _convert_="all")(subject))
        except NotApplicable as reason:
            if asked:
                raise
            console.print(f"{eval_name} is left out: {reason}\n")
            continue
        show_result(result)
        console.print(f"{result.save(run.results)}\n")
    return results


def run_of(name: str) -> Run:
    """Where results go: into the crosscoder's own run folder, or for one from the hub under outputs/."""
    return Run(name) if Path(name).is_dir() else Run(Path("outputs") / name.removeprefix("hf://").strip("/"))


if __name__ == "__main__":
    main()
