"""Sections of the page, one per eval, in the page's order."""

from collections.abc import Callable, Mapping, Sequence

from crosscoder.evals import Result
from crosscoder.report.html.ablation import build_ablation_section
from crosscoder.report.html.behaviour import build_behaviour_section
from crosscoder.report.html.compare import build_compare_section
from crosscoder.report.html.equivalence import build_equivalence_section
from crosscoder.report.html.methods import build_methods_section
from crosscoder.report.html.patching import build_patching_section
from crosscoder.report.html.section import Section
from crosscoder.report.html.stability import build_stability_section
from crosscoder.report.html.steering import build_steering_section

SECTIONS: dict[str, Callable[[Result, Sequence[str]], Section]] = {
    "behaviour": build_behaviour_section,
    "ablation": build_ablation_section,
    "steering": build_steering_section,
    "patching": build_patching_section,
    "equivalence": build_equivalence_section,
    "methods": build_methods_section,
    "compare": build_compare_section,
    "stability": build_stability_section,
}


def build_sections(results: Mapping[str, Result], diff_pair: Sequence[str]) -> dict[str, Section]:
    """Build a section for each result that has one and anything to draw.

    Args:
        results: Results by name.
        diff_pair: The two sources that are compared, if known.
    """
    sections = {}
    for name, build in SECTIONS.items():
        if name in results:
            section = build(results[name], diff_pair)
            if section:
                sections[name] = section
    return sections
