"""What the weights alone say: decoder norms, their ratios, their angle, and every published category.

    R = ‖d_chat‖ / (‖d_base‖ + ‖d_chat‖)                       Lindsey et al. 2024
    Δ = ½ (1 + (‖d_chat‖ − ‖d_base‖) / max)                    Minder et al. 2025, Eq. 3; their released frames hold 1 − Δ

Both are 1 where only the contrast's first source (chat) is written to, and ½ where both are alike. Norms are in training units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cosine_similarity

from crosscoder.metrics import delta_norm, relative_norm
from crosscoder.model import Crosscoder


@dataclass(frozen=True)
class Published:
    """Thresholds of one paper on one score, towards the first source; the second's are mirrored.

    `shared` is how far from ½ a latent may be that the paper calls shared; None if it has no word for those.
    """

    paper: str
    score: str
    exclusive: float
    shared: float | None

    def describe(self) -> str:
        """E.g. `Δ > 0.9, Minder et al. 2025`."""
        return f"{ {'delta_norm': 'Δ', 'relative_norm': 'R'}[self.score] } > {self.exclusive}, {self.paper}"

    def categories(self, scores: np.ndarray, first: str, second: str) -> np.ndarray:
        """`chat-only`, `base-only`, `shared` or `other` for every latent, with the sources' own names."""
        calls = [scores > self.exclusive, scores < 1 - self.exclusive]
        if self.shared is not None:
            calls.append(abs(scores - 0.5) < self.shared)
        return np.select(calls, [f"{first}-only", f"{second}-only", "shared"][: len(calls)], "other")


PUBLISHED = {
    "minder2025": Published("Minder et al. 2025", "delta_norm", 0.9, 0.1),
    "lindsey2024": Published("Lindsey et al. 2024, Kissane et al. 2024", "relative_norm", 0.7, 0.2),
    "dfc2026": Published("arXiv 2602.11729, toy", "relative_norm", 0.8, 0.3),
    "mishra_sharma2025": Published("Mishra-Sharma et al. 2025", "relative_norm", 0.95, None),
}


def norms(crosscoder: Crosscoder) -> Mapping[str, Any]:
    """Columns `norm/<source>`; with a contrast also `relative_norm`, `delta_norm`, `category/<paper>`, `cosine` and
    `difference_norm`, ‖d_chat − d_base‖.
    """
    sources = crosscoder.sources
    by_source = dict(zip(sources.names, crosscoder.decoder_norms().detach().cpu(), strict=True))
    columns: dict[str, Any] = {f"norm/{name}": norm.numpy() for name, norm in by_source.items()}
    if sources.contrast is None:
        return columns
    first, second = sources.contrast
    columns["relative_norm"] = relative_norm(by_source[first], by_source[second]).numpy()
    columns["delta_norm"] = delta_norm(by_source[first], by_source[second]).numpy()
    if sources[first].width == sources[second].width:
        one, other = (training_decoder(crosscoder, name).detach() for name in (first, second))
        columns["cosine"] = cosine_similarity(one, other, dim=-1).cpu().numpy()
        columns["difference_norm"] = (one - other).norm(dim=-1).cpu().numpy()
    for paper, rule in PUBLISHED.items():
        columns[f"category/{paper}"] = rule.categories(columns[rule.score], first, second)
    return columns


def training_decoder(crosscoder: Crosscoder, source: str) -> Tensor:
    """One source's decoder in training units, [n_latents, d_source]."""
    scale = crosscoder.scale[crosscoder.sources.slice(source)] if crosscoder.folded else 1.0
    return crosscoder.decoder(source) / scale
