"""Summarise one eval over several crosscoders, e.g. three seeds: mean and range of every figure."""

from collections.abc import Mapping, Sequence

import numpy as np

from crosscoder.evals.base import Result


def summarise_seeds(results: Mapping[str, Sequence[Result]]) -> list[Result]:
    """Return a result `<eval>_seeds` for every eval that all crosscoders have.

    Args:
        results: The results of each crosscoder, by its name.
    """
    by_eval = []
    for results_of_one in results.values():
        by_eval.append({result.name: result for result in results_of_one})
    summaries = []
    for name in by_eval[0]:
        if all(name in one for one in by_eval):
            summaries.append(_summarise(name, list(results), [one[name] for one in by_eval]))
    return summaries


def _summarise(name: str, crosscoders: list[str], results: list[Result]) -> Result:
    keys = [key for key in results[0].scalars if all(key in result.scalars for result in results)]
    rows = []
    for key in keys:
        values = [float(result.scalars[key]) for result in results]
        row = {
            "figure": key,
            "mean": float(np.mean(values)),
            "lowest": min(values),
            "highest": max(values),
        }
        rows.append(row)
    scalars = {row["figure"]: row["mean"] for row in rows}
    seconds = sum(result.meta.get("seconds", 0) for result in results)
    digests = [result.meta.get("crosscoder_sha256") for result in results]
    meta = {"crosscoders": crosscoders, "seconds": seconds}
    if digests[0] is not None:  # the result is saved in the folder of the first crosscoder
        meta |= {"crosscoder_sha256": digests[0], "every_sha256": digests}
    return Result(f"{name}_seeds", scalars, {"range": rows}, meta)
