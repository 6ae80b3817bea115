"""Which evals have a section of their own, in the page's order."""

from collections.abc import Callable, Mapping, Sequence

from crosscoder.evals import Result
from crosscoder.report.ablation import ablation
from crosscoder.report.behaviour import behaviour
from crosscoder.report.compare import compare
from crosscoder.report.patching import patching
from crosscoder.report.section import Section
from crosscoder.report.steering import steering

SECTIONS: dict[str, Callable[[Result, Sequence[str]], Section]] = {
    "behaviour": behaviour,
    "ablation": ablation,
    "steering": steering,
    "patching": patching,
    "compare": compare,
}


def sections(results: Mapping[str, Result], contrast: Sequence[str]) -> dict[str, Section]:
    """A section for each result that has one and anything to draw.

    Args:
        results: by name.
        contrast: the two sources that are compared, as far as known.
    """
    made = {name: make(results[name], contrast) for name, make in SECTIONS.items() if name in results}
    return {name: section for name, section in made.items() if section}
