"""The command evaluate.py: evaluate saved crosscoders from their files alone."""

import os

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crosscoder.cli.advice import explain_mistakes
from crosscoder.cli.command import accept_old_names
from crosscoder.cli.evaluation_settings import check_evaluation
from crosscoder.cli.help import answer_help
from crosscoder.cli.targets import CONF
from crosscoder.errors import exit_on_error

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on; exit_on_error prints them


@answer_help(CONF, "evaluate")
@accept_old_names
@exit_on_error(HydraException, OmegaConfBaseException)
@explain_mistakes(CONF, "evaluate")
@hydra.main(config_path=str(CONF), config_name="evaluate", version_base="1.3")
@exit_on_error(HydraException, OmegaConfBaseException)
@explain_mistakes(CONF, "evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate the named crosscoders, print the results, write results/ and report.html."""
    OmegaConf.set_readonly(cfg, True)
    names = check_evaluation(cfg)
    # imported here, since it takes seconds that --help and a mistyped key need not wait for
    from crosscoder.cli.evaluation import evaluate_all

    evaluate_all(cfg, names)
