"""Directions that separate the two framings of a behaviour: methods that use labels.

    mean difference   v = mean x_chat(framing) − mean x_chat(control)
    probe             v = the weights of a logistic regression of the framing on x_chat

Both see the training prompts, at the token before the answer. They are an upper bound of what the
label-free methods can be expected to find, not rivals.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.evals.diffing.evidence import DirectionPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.support.baselines import fit_probe, select_last_tokens
from crosscoder.values import require_whole


@dataclass(frozen=True)
class MeanDifference:
    """The mean difference of the two framings."""

    uses_labels: ClassVar[bool] = True

    def find_evidence(self, material: Material) -> list[DirectionPiece]:
        """Return the direction; none if the two framings have the same mean."""
        framing, control = read_labelled(material)
        direction = framing.mean(0) - control.mean(0)
        weight = float(direction.norm())
        if not weight:
            return []
        return [DirectionPiece.from_vector("mean difference", weight, direction, "chat")]


@dataclass(frozen=True)
class Probe:
    """The direction of a logistic probe.

    Args:
        seed: Random seed of the fit.
    """

    seed: int = 0
    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_whole("seed of the probe", self.seed, least=0)

    def find_evidence(self, material: Material) -> list[DirectionPiece]:
        """Return the direction; none if the two framings cannot be told apart."""
        weights = fit_probe(*read_labelled(material), self.seed)
        weight = float(weights.norm())
        return [DirectionPiece.from_vector("probe", weight, weights, "chat")] if weight else []


def read_labelled(material: Material) -> tuple[Tensor, Tensor]:
    """Return chat's activations before the answer, in the framing and in the control.

    Returns:
        Two tensors [n_pairs, d_source].
    """
    first, _ = material.diff_pair
    prompts = material.labelled_prompts
    columns = prompts.reading.sources.slice(first)
    framing, control = select_last_tokens(prompts)
    return framing[:, columns], control[:, columns]
