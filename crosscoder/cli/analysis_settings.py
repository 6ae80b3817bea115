"""The analysis of a configuration, with the thresholds of the verdict."""

from dataclasses import replace

from hydra.utils import instantiate
from omegaconf import DictConfig

from crosscoder.analysis.analysis import Analysis


def build_analysis(cfg: DictConfig) -> Analysis:
    """Build the analysis with the thresholds of the verdict.

    Configurations of older runs may have neither.
    """
    analysis = instantiate(cfg.analysis, _convert_="all") if "analysis" in cfg else Analysis()
    if "rule" not in cfg:
        return analysis
    return replace(analysis, rule=instantiate(cfg.rule, _convert_="all"))
