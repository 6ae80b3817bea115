"""Quality of reconstructions, accumulated in float64 over any number of batches.

    FVE                1 − Σ_t ‖x_t − x̂_t‖² / Σ_t ‖x_t − x̄‖², pooled over tokens and dimensions
    standardised FVE   mean over dimensions of 1 − Σ_t e_td² / Σ_t (x_td − x̄_d)²: pooled FVE after
                       dividing every dimension by its standard deviation
    difference FVE     pooled FVE of x_chat − x_base: a high FVE of each source can hide a low one
                       of the difference, which is small

Pooled FVE is too favourable where few dimensions hold most of the variance (in Gemma 3 270M one
holds three quarters).
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
        """Return Σ_t (x_td − x̄_d)² per dimension."""
        return self.squares - self.sum.square() / self.n

    @property
    def varies(self) -> bool:
        """Return whether there is more variance than rounding makes of none."""
        return self.n > 0 and bool(self.total.sum() > 1e-12 * self.squares.sum())

    def fve(self) -> float:
        """Return the pooled fraction of variance explained; NaN where nothing varies."""
        return float(1 - self.errors.sum() / self.total.sum()) if self.varies else float("nan")

    def fve_standardised(self) -> float:
        """Return the mean over dimensions that vary of each one's FVE; NaN where nothing varies."""
        if not self.varies:
            return float("nan")
        varies = self.total > 1e-12 * self.squares.clamp(min=1e-30)
        return float((1 - self.errors[varies] / self.total[varies]).mean())


def rounding_variance(acts: Tensor) -> Tensor:
    """Return the variance of the error of rounding to this bfloat16: ulp² / 12, elementwise.

    bfloat16 keeps 8 significant bits, so ulp = 2^(exponent − 7). The FVE of a difference of two
    rounded activations cannot honestly exceed 1 − Σ(ulp²_chat + ulp²_base)/12 / Var(difference):
    its noise ceiling.
    """
    exponent = torch.frexp(acts.double())[1] - 1
    return torch.where(acts == 0, 0.0, torch.exp2(2.0 * (exponent - 7)) / 12)


def relative_norm(chat: Tensor, base: Tensor) -> Tensor:
    """Return R = ‖d_chat‖ / (‖d_base‖ + ‖d_chat‖), from norms. Lindsey et al. 2024.

    1 is chat-only, 0 is base-only.
    """
    return chat / (base + chat).clamp(min=1e-30)


def delta_norm(chat: Tensor, base: Tensor) -> Tensor:
    """Return Δ = ½ (1 + (‖d_chat‖ − ‖d_base‖) / max), from norms. Minder et al. 2025 Eq. 3.

    1 is chat-only, 0 is base-only. The data frames released with that paper hold 1 − Δ.
    """
    return 0.5 * (1 + (chat - base) / torch.maximum(chat, base).clamp(min=1e-30))
