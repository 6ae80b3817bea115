"""Figures of a finished run, as a sweep compares and optimises them."""

from collections.abc import Sequence
from typing import Any

from crosscoder.errors import UserError
from crosscoder.io.run_dir import Run


def read_objective(run: Run, names: str | Sequence[str] | None) -> Any:
    """Return the named figures of a run.

    Args:
        run: The run.
        names: One name, or several.

    Returns:
        One figure, or a list of figures. None if no figure is named or the run is not finished.

    Raises:
        UserError: The run has no figure of that name.
    """
    if names is None or not run.metrics.exists():
        return None
    figures = read_figures(run)
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in figures]
    if unknown:
        raise UserError(
            f"objective {', '.join(unknown)}: the figures of a run are {', '.join(figures)}"
        )
    values = [figures[name] for name in wanted]
    return values[0] if isinstance(names, str) else values


def read_figures(run: Run) -> dict[str, float]:
    """Return the numbers of metrics.json, and the counts of `eval=[diff]`."""
    from crosscoder.evals import Result
    from crosscoder.report.current import is_other

    figures = run.read_metrics()
    path = run.result_path("diff")
    if path.exists():
        result = Result.load(path)
        if not is_other(result.meta, figures.get("crosscoder_sha256")):
            for name, count in result.scalars.items():
                if name.startswith("count/"):
                    figures[name] = count
    return {name: value for name, value in figures.items() if not isinstance(value, str)}
