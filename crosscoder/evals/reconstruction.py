"""How well activations are reconstructed on held-out tokens, in inference mode, in raw units."""

import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from crosscoder.data import Mixing
from crosscoder.evals.base import Result, Subject
from crosscoder.metrics import Variance, counts_by_rule, rounding_variance


@dataclass(frozen=True)
class ReconstructionEval:
    """FVE per source (pooled and standardised) and of the difference, L0, dead latents, density, latents by norm ratio.

    Dead here: never active on the held-out tokens.

    Args:
        n_tokens: on how many held-out tokens at most.
        batch_size: tokens at a time.
    """

    n_tokens: int = 1_000_000
    batch_size: int = 2048

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        crosscoder, sources = subject.crosscoder, subject.crosscoder.sources
        variances = {name: Variance() for name in sources.names}
        contrast = sources.comparable
        difference, noise = Variance(), 0.0
        active, l0, n = torch.zeros(crosscoder.n_latents, dtype=torch.int64), 0.0, 0
        for raw in Mixing(subject.heldout, sources).sequential(self.batch_size):
            acts = raw.to(crosscoder.W_enc.device).float()
            code = crosscoder.encode(acts)
            recon = crosscoder.decode(code)
            x, x_hat = sources.split(acts), sources.split(recon)
            for name, variance in variances.items():
                variance.update(x[name], x_hat[name])
            if contrast:
                chat, base = contrast
                difference.update(x[chat] - x[base], x_hat[chat] - x_hat[base])
                if raw.dtype == torch.bfloat16:
                    noise += float(rounding_variance(x[chat]).sum() + rounding_variance(x[base]).sum())
            active += code.counts().cpu()
            l0, n = l0 + float(code.l0().sum()), n + len(acts)
            if n >= self.n_tokens:
                break
        scalars = {f"fve/{name}": variance.fve() for name, variance in variances.items()}
        scalars |= {f"fve_standardised/{name}": variance.fve_standardised() for name, variance in variances.items()}
        if contrast:
            scalars["fve/difference"] = difference.fve()
            scalars["fve_ceiling/difference"] = 1 - noise / float(difference.total.sum())
        scalars |= {"l0": l0 / n, "dead_fraction": float((active == 0).float().mean())}
        meta = {
            "n_tokens": n,
            "store": str(subject.heldout.folder),
            "seconds": time.perf_counter() - start,
            "seed": subject.seed,
        }
        return Result("reconstruction", scalars, self._tables(subject, active, n), meta)

    def _tables(self, subject: Subject, active: torch.Tensor, n: int) -> dict[str, list[dict]]:
        alive = active > 0
        edges = [0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
        density = active.double() / n
        rows = [
            {"density": f"{low:g} – {high:g}", "latents": int(((density > low) & (density <= high)).sum())}
            for low, high in pairwise(edges)
        ]
        tables = {"density": [{"density": "0 (dead)", "latents": int((~alive).sum())}, *rows]}
        if subject.crosscoder.sources.contrast:
            norms = dict(zip(subject.crosscoder.sources.names, subject.crosscoder.decoder_norms().cpu(), strict=True))
            chat, base = (norms[name] for name in subject.crosscoder.sources.contrast)
            counts = counts_by_rule(chat, base, alive)
            tables["norm_rules"] = [{"rule": rule, "latents": count} for rule, count in counts.items()]
        return tables
