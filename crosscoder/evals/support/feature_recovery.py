"""Recovery of planted features, and of their classes. It is exact, since the truth is known.

Each feature is matched with a latent of its own such that the sum of cosines is largest (Hungarian
method). The cosine compares what both write into the two streams, [g_base u_base; g_chat u_chat].

    MCC          mean cosine over features
    found        fraction of features whose cosine exceeds `FOUND_COSINE`
    precision    fraction of the latents called exclusive to a source whose nearest feature is
    recall       fraction of the features exclusive to a source that are found and whose latent
                 the rule calls so
    AP           average precision of a score that ranks latents: Δ, or the latent's presence in
                 the other source (see analysis/columns/presence.py). Features that are not found
                 are never retrieved
    AUROC        of the same score among live latents; it saturates where exclusive features are
                 few

Every rule is applied to every crosscoder, so that training and calling are judged separately.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscoder.analysis.columns.presence import EXCLUSIVE as MAX_PRESENCE
from crosscoder.analysis.matching.decoders import find_nearest, match_one_to_one
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.data.synthetic.planted import BASE_ONLY, CHAT_ONLY, CLASSES

FOUND_COSINE = 0.83  # arXiv 2602.11729
NEAR_COSINE = 0.5  # from which a latent is about a feature at all
EXCLUSIVE_CLASSES = {"chat": CHAT_ONLY, "base": BASE_ONLY}
N_DECILES = 10


@dataclass(frozen=True)
class CallRule:
    """Latents that a rule calls exclusive to each source, as masks [n_latents]."""

    chat: np.ndarray
    base: np.ndarray

    def select(self, source: str) -> np.ndarray:
        """Return the latents called exclusive to this source."""
        return self.chat if source == "chat" else self.base


class FeatureRecovery:
    """Features of a planted world, matched with the latents of a crosscoder.

    Args:
        crosscoder: Folded crosscoder, trained on the world's streams base and chat.
        truth: Features of the world (see data/synthetic/planted.py).
        table: Its LatentTable with verdict and presence.
    """

    def __init__(
        self, crosscoder: Crosscoder, truth: Mapping[str, Tensor], table: LatentTable
    ) -> None:
        self.table = table
        self.classes = truth["classes"].numpy()
        self.rates = truth["rates"].numpy()
        base_gains, chat_gains = truth["gains"]
        base = base_gains[:, None] * truth["directions"]
        chat = chat_gains[:, None] * truth["chat_directions"]
        features = torch.cat([base, chat], dim=1)
        decoders = [crosscoder.decoder(name).detach().cpu() for name in ("base", "chat")]
        latents = torch.cat(decoders, dim=1)
        self.cosine, self.partner = match_one_to_one(features, latents)
        self.nearest_cosine, self.nearest = find_nearest(latents, features)
        self.is_found = self.cosine > FOUND_COSINE

    def match_scalars(self) -> dict[str, float]:
        """Return `mcc`, `found`, `twins` and `found/<class>`.

        `twins` is the fraction of features that more than one latent writes.
        """
        close = self.nearest[self.nearest_cosine > FOUND_COSINE]
        n_latents = np.bincount(close, minlength=len(self.classes))
        scalars = {
            "mcc": float(self.cosine.mean()),
            "found": float(self.is_found.mean()),
            "twins": float((n_latents > 1).mean()),
        }
        for number, name in self._present_classes().items():
            scalars[f"found/{name}"] = float(self.is_found[self.classes == number].mean())
        return scalars

    def _present_classes(self) -> dict[int, str]:
        """Return the names of the classes that have features, by number."""
        present = {}
        for number, name in enumerate(CLASSES):
            if (self.classes == number).any():
                present[number] = name
        return present

    def call_rules(self) -> dict[str, CallRule]:
        """Return which live latents each rule calls exclusive, by the rule's name."""
        delta = self.table["delta_norm"]
        relative = self.table["relative_norm"]
        verdict = self.table["verdict"]
        alive = ~self.table["dead"]
        chat_absent = self.table["presence/chat"] < MAX_PRESENCE
        base_absent = self.table["presence/base"] < MAX_PRESENCE
        return {
            "Δ > 0.9": CallRule((delta > 0.9) & alive, (delta < 0.1) & alive),
            "R > 0.7": CallRule((relative > 0.7) & alive, (relative < 0.3) & alive),
            "verdict": CallRule(
                (verdict == "chat-specific") & alive, (verdict == "base-specific") & alive
            ),
            "presence": CallRule(chat_absent & alive, base_absent & alive),
        }

    def score_rules(self) -> list[dict[str, Any]]:
        """Return precision, recall and F1 of every rule for either source."""
        rows = []
        for name, rule in self.call_rules().items():
            for source, kind in EXCLUSIVE_CLASSES.items():
                score = self._score_calls(rule.select(source), kind)
                rows.append({"rule": name, "source": source, **score})
        return rows

    def _score_calls(self, called: np.ndarray, kind: int) -> dict[str, float]:
        is_near = self.nearest_cosine > NEAR_COSINE
        class_of_latent = np.where(is_near, self.classes[self.nearest], -1)
        precision = float((class_of_latent[called] == kind).mean()) if called.any() else 0.0
        recall = float(self._find_recalled(called)[self.classes == kind].mean())
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        return {"called": int(called.sum()), "precision": precision, "recall": recall, "f1": f1}

    def _find_recalled(self, called: np.ndarray) -> np.ndarray:
        """Tell which features are found and have a latent that is called."""
        has_partner = self.partner >= 0
        return self.is_found & has_partner & called[np.maximum(self.partner, 0)]

    def score_rankings(self) -> list[dict[str, Any]]:
        """Return AP and AUROC of the rankings by Δ and by presence for either source."""
        delta = self.table["delta_norm"]
        scores = {("Δ", "chat"): delta, ("Δ", "base"): 1 - delta}
        for source in EXCLUSIVE_CLASSES:
            # a latent without a presence has never fired, and is ranked last
            presence = np.nan_to_num(self.table[f"presence/{source}"], nan=np.inf)
            scores["presence", source] = -presence
        rows = []
        for (by, source), score in scores.items():
            figures = self._score_ranking(score, EXCLUSIVE_CLASSES[source])
            rows.append({"by": by, "source": source, **figures})
        return rows

    def _score_ranking(self, score: np.ndarray, kind: int) -> dict[str, float]:
        # Not sklearn's functions: these rank tied scores together, refuse infinite ones, and divide
        # AP by the features that were found instead of by all of the class.
        is_kind = self.classes == kind
        is_hit = np.zeros(len(score), dtype=bool)
        is_hit[self.partner[self.is_found & is_kind]] = True
        alive = ~self.table["dead"]
        order = np.argsort(-score[alive], kind="stable")
        hits = is_hit[alive][order]
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        ap = float((precision * hits).sum() / max(1, is_kind.sum()))
        n_hits = int(hits.sum())
        n_others = int((~hits).sum())
        auroc = float("nan")
        if n_hits and n_others:
            n_others_before_hits = (~hits).cumsum()[hits].sum()
            auroc = float(1 - n_others_before_hits / (n_hits * n_others))
        return {"ap": ap, "auroc": auroc}

    def score_deciles(self, rule: str = "presence") -> list[dict[str, Any]]:
        """Return how many exclusive features are found and recalled, by how often they fire."""
        calls = self.call_rules()[rule]
        is_recalled = np.zeros(len(self.classes), dtype=bool)
        for source, kind in EXCLUSIVE_CLASSES.items():
            is_recalled |= self._find_recalled(calls.select(source)) & (self.classes == kind)
        is_exclusive = np.isin(self.classes, list(EXCLUSIVE_CLASSES.values()))
        features = is_exclusive.nonzero()[0]
        by_rate = features[np.argsort(self.rates[features], kind="stable")]
        rows = []
        for number, decile in enumerate(np.array_split(by_rate, N_DECILES), 1):
            if not len(decile):
                continue
            row = {
                "decile": number,
                "rate": float(self.rates[decile].mean()),
                "features": len(decile),
                "found": float(self.is_found[decile].mean()),
                "recalled": float(is_recalled[decile].mean()),
            }
            rows.append(row)
        return rows

    def count_confusion(self) -> list[dict[str, Any]]:
        """Count the verdicts of the features' latents, a row per class of feature."""
        verdict = self.table["verdict"][np.maximum(self.partner, 0)]
        verdict = np.where(self.is_found, verdict, "not found")
        names = sorted(set(verdict))
        rows = []
        for number, name in self._present_classes().items():
            verdicts = verdict[self.classes == number]
            counts = {v: int((verdicts == v).sum()) for v in names}
            rows.append({"feature": name, **counts})
        return rows
