"""Quality of the reconstruction of held-out tokens, in inference mode, in raw units."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.metrics import Variance, rounding_variance
from crosscoder.core.model import Crosscoder
from crosscoder.core.published import counts_by_rule
from crosscoder.core.sources import Sources
from crosscoder.data import Mixing
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.outliers import count_excluded, warn_of_outliers
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.densities import count_by_density, label_intervals
from crosscoder.values import require_whole

ONE_TOKEN = "one token has no variance: take a larger n_heldout"
HISTOGRAM_EDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class ReconstructionEval:
    """FVE per source (pooled and standardised) and of the difference, L0, dead latents, density.

    A latent is dead if it is never active on the held-out tokens. A table counts latents by norm
    ratio.

    Args:
        n_tokens: Largest number of held-out tokens.
        batch_size: Tokens per batch.
    """

    n_tokens: int = 1_000_000
    batch_size: int = 2048

    def __post_init__(self) -> None:
        require_whole("eval.reconstruction.n_tokens", self.n_tokens)
        require_whole("eval.reconstruction.batch_size", self.batch_size)

    @torch.no_grad()
    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        crosscoder = context.crosscoder
        sources = crosscoder.sources
        exclude = read_figure_exclude(crosscoder.provenance)
        warn_of_outliers(context.heldout, sources, exclude)
        sums = _Sums(crosscoder)
        for raw in Mixing(context.heldout, sources, exclude).iter_in_order(self.batch_size):
            sums.update(raw)
            if sums.n_tokens >= self.n_tokens:
                break
        meta: dict[str, Any] = {
            "n_tokens": sums.n_tokens,
            "excluded": count_excluded(context.heldout, sources, exclude),
        }
        if absent := sums.explain_absent():
            meta["left_out"] = absent
        tables = {"density": _density_table(sums.n_active.double() / sums.n_tokens)}
        if sources.diff_pair:
            tables["norm_rules"] = _norm_rules(crosscoder, sums.n_active > 0)
        return Result("reconstruction", sums.make_scalars(), tables, meta)


@dataclass
class _Sums:
    """Sums over tokens, from which the figures are computed."""

    crosscoder: Crosscoder
    n_tokens: int = 0
    l0: float = 0.0
    noise: float = 0.0
    variances: dict[str, Variance] = field(init=False)
    difference: Variance = field(default_factory=Variance)
    n_active: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.variances = {name: Variance() for name in self.sources.names}
        self.n_active = torch.zeros(self.crosscoder.n_latents, dtype=torch.int64)

    @property
    def sources(self) -> Sources:
        return self.crosscoder.sources

    def update(self, raw: Tensor) -> None:
        """Add a batch of raw activations [batch, d_total]."""
        acts = raw.to(self.crosscoder.W_enc.device).float()
        code = self.crosscoder.encode(acts)
        recon = self.crosscoder.decode(code)
        x = self.sources.split(acts)
        x_hat = self.sources.split(recon)
        for name, variance in self.variances.items():
            variance.update(x[name], x_hat[name])
        if self.sources.comparable:
            chat, base = self.sources.comparable
            self.difference.update(x[chat] - x[base], x_hat[chat] - x_hat[base])
            if raw.dtype == torch.bfloat16:
                noise = rounding_variance(x[chat]).sum() + rounding_variance(x[base]).sum()
                self.noise += float(noise)
        self.n_active += code.counts().cpu()
        self.l0 += float(code.l0().sum())
        self.n_tokens += len(acts)

    @property
    def has_difference(self) -> bool:
        """True if the FVE of the difference is defined."""
        return self.sources.comparable is not None and self.difference.varies

    def make_scalars(self) -> dict[str, float]:
        """Return the figures by key."""
        scalars = {}
        for name, variance in self.variances.items():
            scalars[f"fve/{name}"] = variance.fve()
        for name, variance in self.variances.items():
            scalars[f"fve_standardised/{name}"] = variance.fve_standardised()
        if self.has_difference:
            total = float(self.difference.total.sum())
            scalars["fve/difference"] = self.difference.fve()
            scalars["fve_ceiling/difference"] = 1 - self.noise / total
        scalars["l0"] = self.l0 / self.n_tokens
        scalars["dead_fraction"] = float((self.n_active == 0).float().mean())
        return scalars

    def explain_absent(self) -> dict[str, str]:
        """Return why figures are not defined, by key."""
        absent = {}
        for name, variance in self.variances.items():
            if not variance.varies:
                reason = describe_constant(name, self.n_tokens)
                absent[f"fve/{name}"] = reason
                absent[f"fve_standardised/{name}"] = reason
        if self.sources.comparable is not None and not self.has_difference:
            chat, base = self.sources.comparable
            if self.n_tokens == 1:
                absent["fve/difference"] = ONE_TOKEN
            else:
                absent["fve/difference"] = (
                    f"on these tokens {chat} and {base} do not differ, or only by a constant"
                )
        return absent


def _density_table(density: Tensor) -> list[dict[str, Any]]:
    """Count latents by density; the first row are the dead ones."""
    labels = ["0 (dead)", *label_intervals(HISTOGRAM_EDGES)]
    # the last count is of densities above 1, which do not exist
    counts = count_by_density(density.numpy(), HISTOGRAM_EDGES)[:-1]
    return [
        {"density": label, "latents": count} for label, count in zip(labels, counts, strict=True)
    ]


def _norm_rules(crosscoder: Crosscoder, alive: Tensor) -> list[dict[str, Any]]:
    """Count live latents by the published rules on decoder norms."""
    assert crosscoder.sources.diff_pair
    chat, base = crosscoder.sources.diff_pair
    norms = dict(zip(crosscoder.sources.names, crosscoder.decoder_norms().cpu(), strict=True))
    counts = counts_by_rule(norms[chat], norms[base], alive)
    return [{"rule": rule, "latents": count} for rule, count in counts.items()]


def describe_constant(name: str, n_tokens: int) -> str:
    """Say why the fraction of a source's variance is not defined: the source has no variance."""
    if n_tokens == 1:
        return ONE_TOKEN
    return f"{name} is the same on all of these {n_tokens:,} tokens"
