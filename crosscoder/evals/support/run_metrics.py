"""Collect the flat metrics.json of a run: reconstruction, training and the hashes of its inputs."""

from collections.abc import Iterable, Mapping
from typing import Any

from crosscoder.evals.base import Result
from crosscoder.io.run_dir import Run


def write_run_metrics(
    run: Run,
    results: Iterable[Result],
    training: Mapping[str, float],
    tokens_sha256: str,
    crosscoder_sha256: str | None = None,
) -> None:
    """Write metrics.json of a run, completely or not at all.

    Args:
        run: Run folder.
        results: Results of the run's evals; the scalars of `reconstruction` are metrics.
        training: Figures of the harvest and the training.
        tokens_sha256: Hash of the training tokens.
        crosscoder_sha256: Hash of the crosscoder that was evaluated.
    """
    metrics: dict[str, Any] = {}
    for result in results:
        if result.name == "reconstruction":
            metrics |= result.scalars
    metrics |= training
    metrics["tokens_sha256"] = tokens_sha256
    if crosscoder_sha256 is not None:
        metrics["crosscoder_sha256"] = crosscoder_sha256
    run.write_metrics(metrics)
