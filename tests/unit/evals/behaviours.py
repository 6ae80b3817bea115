"""Helpers of the tests of ablation, steering, patching and behaviour.

The answers of the tiny models are noise, and their latents tell no framings apart.
"""

import dataclasses
import json
from typing import Any

from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.evals import Result
from crosscoder.evals.support.benchmark import make_contrast
from crosscoder.organisms.expertise import Asked

# latents that stand in for those which would tell framings apart, were the models trained to
CANDIDATES = [5, 9, 2, 30]
# settings of ablation and steering for the tiny models
FEW: dict[str, Any] = {"n_pairs": 24, "n_questions": 4, "max_new_tokens": 4}


def is_odd(text: str, question: Any = None) -> bool:
    """Mark some answers of the tiny models, and others not."""
    return sum(map(ord, text)) % 2 == 1


SPEC = BehaviourSpec(
    "expertise",
    train=Asked("train"),
    heldout=Asked("heldout"),
    framing="novice",
    control="expert",
    marker=is_odd,
    marker_name="gentle",
)
CHOOSE = dataclasses.replace(make_contrast(SPEC, "train", 24), permutations=2000)


def as_json(result: Result) -> dict:
    """Return a result's content as other tools read it from its file."""
    content = {"scalars": result.scalars, "tables": result.tables, "meta": result.meta}
    return json.loads(json.dumps(content))
