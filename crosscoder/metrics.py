"""Quality of reconstructions, accumulated in float64 over any number of batches.

    FVE        1 − Σ_t ‖x_t − x̂_t‖² / Σ_t ‖x_t − x̄‖²                pooled over tokens and dimensions
    standardised FVE   the same with every dimension divided by its standard deviation first, i.e. the mean over dimensions
               of 1 − Σ_t e_td² / Σ_t (x_td − x̄_d)²
    difference FVE     the pooled FVE of x_chat − x_base: high FVE per source can hide a poor one, since the difference is small

Pooled FVE flatters where few dimensions hold most of the variance (in Gemma 3 270M one holds three quarters).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Variance:
    """Running per-dimension sums of x, x² and e² = (x − x̂)², in float64."""

    n: int = 0
    sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    errors: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def update(self, x: Tensor, recon: Tensor) -> None:
        """Add a batch [batch, d] and its reconstruction."""
        x, recon = x.double(), recon.double()
        self.n += len(x)
        self.sum = self.sum.to(x.device) + x.sum(0)
        self.squares = self.squares.to(x.device) + x.square().sum(0)
        self.errors = self.errors.to(x.device) + (x - recon).square().sum(0)

    @property
    def total(self) -> Tensor:
        """Σ_t (x_td − x̄_d)² per dimension."""
        return self.squares - self.sum.square() / self.n

    def fve(self) -> float:
        """Pooled fraction of variance explained."""
        return float(1 - self.errors.sum() / self.total.sum())

    def fve_standardised(self) -> float:
        """Mean over dimensions of each one's fraction; constant dimensions do not count."""
        varies = self.total > 1e-12 * self.squares.clamp(min=1e-30)
        return float((1 - self.errors[varies] / self.total[varies]).mean())


def rounding_variance(acts: Tensor) -> Tensor:
    """Variance of the error made when a number was rounded to this bfloat16: ulp² / 12, elementwise.

    bfloat16 keeps 8 significant bits, so ulp = 2^(exponent − 7). The FVE of a difference of two rounded activations cannot
    honestly exceed 1 − Σ(ulp²_chat + ulp²_base)/12 / Var(difference): its noise ceiling.
    """
    exponent = torch.frexp(acts.double())[1] - 1
    return torch.where(acts == 0, 0.0, torch.exp2(2.0 * (exponent - 7)) / 12)


def relative_norm(chat: Tensor, base: Tensor) -> Tensor:
    """R = ‖d_chat‖ / (‖d_base‖ + ‖d_chat‖): 1 is chat-only, 0 base-only. Lindsey et al. 2024. Takes norms."""
    return chat / (base + chat).clamp(min=1e-30)


def delta_norm(chat: Tensor, base: Tensor) -> Tensor:
    """Δ = ½ (1 + (‖d_chat‖ − ‖d_base‖) / max): 1 is chat-only, 0 base-only. Minder et al. 2025 Eq. 3. Takes norms.

    The data frames released with that paper hold 1 − Δ.
    """
    return 0.5 * (1 + (chat - base) / torch.maximum(chat, base).clamp(min=1e-30))


# published rules (science: Minder et al. 2025; Kissane et al. 2024; Lindsey et al. 2024; Mishra-Sharma et al. 2025; 2602.11729)
RULES: dict[str, tuple[str, float, float]] = {
    "chat-only, Δ > 0.9 (Minder 2025)": ("delta", 0.9, 1.0),
    "base-only, Δ < 0.1 (Minder 2025)": ("delta", 0.0, 0.1),
    "shared, 0.4 < Δ < 0.6 (Minder 2025)": ("delta", 0.4, 0.6),
    "shared, 0.3 < R < 0.7 (Lindsey, Kissane 2024)": ("relative", 0.3, 0.7),
    "chat-only, R > 0.7 (Kissane 2024)": ("relative", 0.7, 1.0),
    "base-only, R < 0.3 (Kissane 2024)": ("relative", 0.0, 0.3),
    "chat-only, R > 0.8 (arXiv 2602.11729, toy)": ("relative", 0.8, 1.0),
    "chat-only, R > 0.95 (Mishra-Sharma 2025)": ("relative", 0.95, 1.0),
    "base-only, R < 0.05 (Mishra-Sharma 2025)": ("relative", 0.0, 0.05),
}


def counts_by_rule(chat: Tensor, base: Tensor, alive: Tensor) -> dict[str, int]:
    """How many live latents each published rule calls what, from decoder norms [n_latents] in training units."""
    scores = {"relative": relative_norm(chat, base), "delta": delta_norm(chat, base)}
    return {
        rule: int(((scores[score] >= low) & (scores[score] <= high) & alive).sum())
        for rule, (score, low, high) in RULES.items()
    }
