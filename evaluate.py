"""Evaluate a saved crosscoder: reads its folder, its held-out activations and, where asked, the language models."""

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
from crosscoder.evals import Subject
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
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
    crosscoder = Crosscoder.from_pretrained(cfg.crosscoder)
    made_with = crosscoder.provenance
    if not (store := cfg.store or made_with.get("heldout")):
        raise UserError(f"{cfg.crosscoder} names no held-out store; give one with store=FOLDER")
    heldout = Store(store)
    heldout.require(crosscoder.sources)
    pair = Pair(**made_with["pair"], device=cfg.device) if made_with.get("pair") else None
    run = Run(cfg.crosscoder) if Path(cfg.crosscoder).is_dir() else Run(Path("outputs") / cfg.crosscoder)

    def recipe() -> Recipe:
        settings = [f"n_latents={crosscoder.n_latents}", *settings_of(made_with), *cfg.recipe]
        return instantiate(compose("train", [*settings, f"run={run.folder}"]).recipe, _convert_="all")

    subject = Subject(crosscoder, heldout, pair, cfg.seed, recipe, run.folder)
    asked = any(setting.startswith("eval=") for setting in HydraConfig.get().overrides.task)
    for name, part in cfg.eval.items():
        try:
            result = instantiate(part, _convert_="all")(subject)
        except NotApplicable as reason:
            if asked:
                raise
            console.print(f"{name} is left out: {reason}\n")
            continue
        show_result(result)
        console.print(f"{result.save(run.results)}\n")
    console.print(f"to look at: {write_report(run)}")


if __name__ == "__main__":
    main()
