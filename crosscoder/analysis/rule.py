"""Thresholds of the verdict (columns/verdict.py explains the classes)."""

from dataclasses import dataclass

from crosscoder.values import require_fraction, require_number, require_types


@dataclass(frozen=True)
class VerdictRule:
    """Thresholds of the verdict.

    Args:
        candidate: Largest ratio of supported norms, the other source's to its own, of a candidate;
            0.05 is R > 0.95.
        weak: Largest such ratio of a weak decoder. A weak decoder is too little evidence that the
            other source writes something else.
        nu_error: Largest ν^ε of a specific latent; the default is Minder et al. 2025's.
        nu_reconstruction: Largest ν^r of a specific latent; the default is Minder et al. 2025's.
        max_cross_cosine: A latent is decoupled if the cosine of its decoder with another latent's
            decoder in the other source is larger than this.
        apart: Largest cosine between the two decoders of a rewritten latent.
        supported: Smallest fraction of a decoder's norm that the data must support, in the source
            with the larger supported norm.
        n_active: Smallest number of tokens that a latent must be active on.
        fdr: False-discovery rate of the calls with a calibration (see calibration.py), which then
            replaces the thresholds of a specific latent.
    """

    candidate: float = 0.05
    weak: float = 0.2
    nu_error: float = 0.2
    nu_reconstruction: float = 0.5
    max_cross_cosine: float = 0.9
    apart: float = 0.5
    supported: float = 0.25
    n_active: int = 10
    fdr: float = 0.05

    def __post_init__(self) -> None:
        require_types("rule", self)
        for name in ("candidate", "weak", "supported", "fdr"):
            require_fraction(f"rule.{name}", getattr(self, name))
        for name in ("nu_error", "nu_reconstruction"):
            require_number(f"rule.{name}", getattr(self, name), least=0)
        for name in ("max_cross_cosine", "apart"):
            require_number(f"rule.{name}", getattr(self, name), least=-1, most=1)
