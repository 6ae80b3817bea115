"""How much of a planted world a crosscoder found, and whether what it calls exclusive is. Exact, since the truth is known.

Each feature gets a latent of its own so that the sum of cosines is largest (Hungarian method); what is compared is what they
write into both streams side by side, [g_base u_base; g_chat u_chat].

    MCC          mean cosine over features
    found        share of features whose cosine exceeds `FOUND`
    precision    of the latents that a rule calls exclusive to a source: those whose nearest feature is
    recall       of the features exclusive to a source: those that are found and whose latent the rule calls so
    AP           average precision of a score that ranks latents (Δ, or the latent's presence in the other source, see
                 presence.py); features that are not found are never retrieved
    AUROC        of the same score among found latents: saturates where exclusive features are few

A rule is applied to every crosscoder alike, so that training and calling are told apart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscoder.data.planted import BASE_ONLY, CHAT_ONLY, CLASSES
from crosscoder.diff.match import best, one_to_one
from crosscoder.diff.presence import EXCLUSIVE as ABSENT
from crosscoder.diff.table import LatentTable
from crosscoder.model import Crosscoder

FOUND = 0.83  # arXiv 2602.11729
NEAR = 0.5  # cosine from which a latent is about a feature at all
EXCLUSIVE = {"chat": CHAT_ONLY, "base": BASE_ONLY}
N_DECILES = 10


class Recovery:
    """Features and latents matched.

    Args:
        crosscoder: folded, trained on the world's two streams.
        truth: see data/planted.py.
        table: its LatentTable, with a verdict.
    """

    def __init__(self, crosscoder: Crosscoder, truth: Mapping[str, Tensor], table: LatentTable) -> None:
        self.table, self.classes, self.rates = table, truth["classes"].numpy(), truth["rates"].numpy()
        base, chat = (
            gain[:, None] * directions
            for gain, directions in zip(truth["gains"], (truth["directions"], truth["chat_directions"]), strict=True)
        )
        features = torch.cat([base, chat], dim=1)
        latents = torch.cat([crosscoder.decoder(name).detach().cpu() for name in ("base", "chat")], dim=1)
        self.cosine, self.partner = one_to_one(features, latents)
        self.nearest_cosine, self.nearest = best(latents, features)
        self.found = self.cosine > FOUND

    def scalars(self) -> dict[str, float]:
        """`mcc`, `found`, `found/<class>`, and `twins`, the share of features that more than one latent writes."""
        present = {
            name: self.classes == number for number, name in enumerate(CLASSES) if (self.classes == number).any()
        }
        by_class = {f"found/{name}": float(self.found[which].mean()) for name, which in present.items()}
        about = np.bincount(self.nearest[self.nearest_cosine > FOUND], minlength=len(self.classes))
        means = {"mcc": self.cosine.mean(), "found": self.found.mean(), "twins": (about > 1).mean()}
        return {name: float(value) for name, value in means.items()} | by_class

    def calls(self) -> dict[str, dict[str, np.ndarray]]:
        """Rule → source → which latents it calls exclusive to that source."""
        delta, relative, verdict = (self.table[name] for name in ("delta_norm", "relative_norm", "verdict"))
        alive = ~self.table["dead"]
        absent = {side: self.table[f"presence/{side}"] < ABSENT for side in EXCLUSIVE}
        high = {"Δ > 0.9": delta > 0.9, "R > 0.7": relative > 0.7, "verdict": verdict == "chat-specific"}
        low = {"Δ > 0.9": delta < 0.1, "R > 0.7": relative < 0.3, "verdict": verdict == "base-specific"}
        high["presence"], low["presence"] = absent["chat"], absent["base"]
        return {rule: {"chat": high[rule] & alive, "base": low[rule] & alive} for rule in high}

    def judged(self) -> list[dict[str, Any]]:
        """Precision, recall and F1 of every rule on either side."""
        return [
            {"rule": rule, "source": source, **self._judged(called, EXCLUSIVE[source])}
            for rule, sides in self.calls().items()
            for source, called in sides.items()
        ]

    def _judged(self, called: np.ndarray, kind: int) -> dict[str, float]:
        about = np.where(self.nearest_cosine > NEAR, self.classes[self.nearest], -1)
        precision = float((about[called] == kind).mean()) if called.any() else 0.0
        recall = float(self._recalled(called)[self.classes == kind].mean())
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return {"called": int(called.sum()), "precision": precision, "recall": recall, "f1": f1}

    def _recalled(self, called: np.ndarray) -> np.ndarray:
        return self.found & called[np.maximum(self.partner, 0)] & (self.partner >= 0)

    def ranked(self) -> list[dict[str, Any]]:
        """AP and AUROC by Δ and by presence on either side."""
        delta = self.table["delta_norm"]
        scores = {("Δ", "chat"): delta, ("Δ", "base"): 1 - delta}
        # a latent without a presence has not fired, and is the last to be exclusive
        scores |= {("presence", side): -np.nan_to_num(self.table[f"presence/{side}"], nan=np.inf) for side in EXCLUSIVE}
        return [
            {"by": by, "source": source, **self._ranked(score, EXCLUSIVE[source])}
            for (by, source), score in scores.items()
        ]

    def _ranked(self, score: np.ndarray, kind: int) -> dict[str, float]:
        positive = np.zeros(len(score), dtype=bool)
        positive[self.partner[self.found & (self.classes == kind)]] = True
        alive = ~self.table["dead"]
        order = np.argsort(-score[alive], kind="stable")
        hits = positive[alive][order]
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        ap = float((precision * hits).sum() / max(1, (self.classes == kind).sum()))
        n_yes, n_no = int(hits.sum()), int((~hits).sum())
        # of each hit, how many of the others stand before it
        before = (~hits).cumsum()[hits].sum()
        return {"ap": ap, "auroc": float(1 - before / (n_yes * n_no)) if n_yes and n_no else float("nan")}

    def by_decile(self, rule: str = "presence") -> list[dict[str, Any]]:
        """Exclusive features by how often they fire: how many are found, and recalled by a rule."""
        recalled = np.zeros(len(self.classes), dtype=bool)
        for source, called in self.calls()[rule].items():
            recalled |= self._recalled(called) & (self.classes == EXCLUSIVE[source])
        which = np.isin(self.classes, list(EXCLUSIVE.values())).nonzero()[0]
        parts = np.array_split(which[np.argsort(self.rates[which], kind="stable")], N_DECILES)
        return [
            {
                "decile": number,
                "rate": float(self.rates[part].mean()),
                "features": len(part),
                "found": float(self.found[part].mean()),
                "recalled": float(recalled[part].mean()),
            }
            for number, part in enumerate(parts, 1)
            if len(part)
        ]

    def confusion(self) -> list[dict[str, Any]]:
        """By class of feature, the verdicts of their latents."""
        verdict = np.where(self.found, self.table["verdict"][np.maximum(self.partner, 0)], "not found")
        names = sorted(set(verdict))
        return [
            {"feature": name, **{v: int(((verdict == v) & (self.classes == number)).sum()) for v in names}}
            for number, name in enumerate(CLASSES)
            if (self.classes == number).any()
        ]
