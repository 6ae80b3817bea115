"""How much of a latent there is in the other model: one number that ranks, and calls, what is exclusive.

    presence_j = max(‖d_j^base‖ / ‖d_j^chat‖,  10 (ν_j^ε + 0.02),  −2 (ν_j^ε + 0.02),  [written elsewhere])     of a chat latent

and mirrored of a base latent. The ratio of norms alone cannot tell a feature that base lacks from one that base has weakly: what
base writes for the former is whatever is active together with it, in any direction, and easily a tenth of the chat norm. But a
feature that base has weakly points the same way in both, so that ν^ε (scaling.py), with its sign, is how strong it is there. Of
exclusive latents ν^ε lies a little below zero: their encoders read the difference of the models, so they are active a little more
often where base happens to point away. Far below zero are mixtures. And a direction that another latent writes into base is no
news, whatever this latent does (twins.py).

The numbers were chosen on planted worlds (docs/recovery.md); there most latents with presence below `EXCLUSIVE` are exclusive.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SLOPE, AGAINST, SHIFT, ELSEWHERE = 10.0, 2.0, 0.02, 0.9
EXCLUSIVE = 0.4


def presence(columns: Mapping[str, Any], contrast: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns `presence/<source>`: of that source's latents in the other one; NaN of latents without a scale."""
    first, second = contrast
    found = {}
    for own, other in ((first, second), (second, first)):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = columns[f"norm/{other}"] / columns[f"norm/{own}"]
        trace = columns[f"nu/error/{own}"] + SHIFT
        parts = (ratio, SLOPE * trace, -AGAINST * trace, 1.0 * (columns["elsewhere"] > ELSEWHERE))
        found[f"presence/{own}"] = np.maximum.reduce(parts)
    return found
