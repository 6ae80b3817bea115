"""Two dictionaries on the same tokens: a crosscoder, and one that somebody else trained, or that reads the base model alone.

Quality is told for each as it is and at the lower of their two L0s (the other one's smallest entries left out, see sparser.py). A
reference of one source is also read on each of our models by itself: the way an SAE alone would tell the models apart.

What our latents are to the reference: the nearest decoder (match.py), partners that fire together (cofiring.py), and how much of
a latent's activity the reference's code explains (explained.py), beside how much a linear map of the activations that the
reference reads would.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from crosscoder.data import Mixing, Store
from crosscoder.diff.analysis import Analysis
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.reference import Reference, streams
from crosscoder.evals.relations import Relations
from crosscoder.evals.sparser import at_l0
from crosscoder.evals.splice import SpliceEval
from crosscoder.metrics import Variance
from crosscoder.model import Crosscoder

SHOWN = ("fve", "fve_standardised", "kl", "delta_ce", "loss_recovered")
CLOSE = 0.01  # L0s that differ by less are matched already
Figures = dict[str, float]


@dataclass(frozen=True)
class CompareEval:
    """Scalars `fve/ours`, `fve/reference` and so on for `l0`, `delta_ce`, `loss_recovered`, as trained and `…_matched`: means
    over the streams that both read. `cosine/<class>`, `one_to_one/<class>`, `explained/<class>`: medians. Writes
    `compare.parquet`.

    Args:
        analysis: as in the diff eval; classes are its verdict.
        reference: what the crosscoder is compared with.
        relations: of latents.
        splice: of both, where there are language models with one tokenizer.
    """

    analysis: Analysis
    reference: Reference
    relations: Relations
    splice: SpliceEval

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        ours, reference = subject.crosscoder, self.reference(subject)
        heldout = streams(subject, reference, {"heldout": (subject.heldout, len(subject.heldout))})["heldout"]
        sides = {"crosscoder": (ours, subject.heldout), "reference": (reference, heldout)}
        judged = {name: self._judge(subject, *side) for name, side in sides.items()}
        low, matched = min(figures["l0"] for figures in judged.values()), dict(judged)
        for name, (dictionary, store) in sides.items():
            if judged[name]["l0"] > (1 + CLOSE) * low:
                matched[name] = judged[f"{name}, sparser"] = self._judge(subject, at_l0(dictionary, low, store), store)
        judged |= self._on_each(subject, reference, judged["reference"], judged["crosscoder"]["l0"])
        judged["crosscoder"] |= _cost(ours, ours.metrics.get("train_seconds"))
        judged["reference"] |= _cost(reference, reference.provenance.get("seconds"))

        table = self.analysis(ours, subject.heldout)
        relations = self.relations(subject, reference, heldout, table)
        both = [source.name for source in reference.sources if source in ours.sources.items]
        scalars = _means(judged, both) | _means(matched, both, "_matched") | relations.scalars
        provenance = {
            key: reference.provenance.get(key) for key in ("layout", "repo", "revision", "norm", "bos_excluded")
        }
        meta = {
            **table.meta,
            **relations.meta,
            "reference": self.reference.spec or f"trained here on {', '.join(reference.sources.names)} alone",
            "reads": {source.name: f"{source.lm} {source.hookpoint}" for source in reference.sources},
            "provenance": provenance,
            "seconds": time.perf_counter() - start,
            "seed": subject.seed,
        }
        return Result("compare", scalars, {"dictionaries": _turned(judged), **relations.tables}, meta, relations.files)

    def _judge(self, subject: Subject, dictionary: Crosscoder, store: Store) -> Figures:
        judged = replace(subject, crosscoder=dictionary, heldout=store)
        scalars = ReconstructionEval()(judged).scalars
        if subject.pair is not None and not subject.pair.aligned:
            scalars |= self.splice(judged).scalars
        figures = {"latents": dictionary.n_latents, "l0": scalars["l0"], "dead_fraction": scalars["dead_fraction"]}
        return figures | {key: value for key, value in scalars.items() if key.partition("/")[0] in SHOWN}

    def _on_each(self, subject: Subject, reference: Crosscoder, known: Figures, l0: float) -> dict[str, Figures]:
        """A reference of one source on each of the two models by itself, as it is and with as many latents active in all.

        `known` is what it was found to be on its own source.
        """
        ours, contrast = subject.crosscoder.sources, subject.crosscoder.sources.comparable
        if not contrast or len(reference.sources) > 1 or reference.sources.d_total != ours[contrast[0]].width:
            return {}
        found = {}
        own = reference.sources.items[0]
        alone = {name: reference.but(sources=ours.subset([name])) for name in reversed(contrast)}
        fewer = {name: at_l0(one, l0 / 2, subject.heldout) for name, one in alone.items()}
        for title, dictionaries in {"reference on each": alone, "reference on each, sparser": fewer}.items():
            parts = [
                known
                if dictionaries is alone and one.sources[name] == own
                else self._judge(subject, one, subject.heldout)
                for name, one in dictionaries.items()
            ]
            figures = {key: value for part in parts for key, value in part.items()}
            figures |= {"l0": sum(part["l0"] for part in parts)}
            figures["dead_fraction"] = float("nan")  # of which model?
            found[title] = figures | {"fve/difference": fve_of_difference(dictionaries, subject.heldout, contrast)}
        return found


@torch.no_grad()
def fve_of_difference(dictionaries: Mapping[str, Crosscoder], store: Store, contrast: tuple[str, str]) -> float:
    """FVE of x_chat − x_base where each is reconstructed by a dictionary of its own, by name of the source."""
    variance = Variance()
    streams = (Mixing(store, dictionaries[name].sources).sequential(2048) for name in contrast)
    for batch in zip(*streams, strict=True):
        x = [acts.to(dictionaries[contrast[0]].W_enc.device).float() for acts in batch]
        x_hat = [
            dictionaries[name].decode(dictionaries[name].encode(acts)) for name, acts in zip(contrast, x, strict=True)
        ]
        variance.update(x[0] - x[1], x_hat[0] - x_hat[1])
    return variance.fve()


def _cost(dictionary: Crosscoder, seconds: float | None) -> Figures:
    cost = {
        "activations read": dictionary.sources.d_total,
        "weights": dictionary.W_enc.numel() + dictionary.W_dec.numel(),
    }
    return cost | ({} if seconds is None else {"seconds of training": seconds})


def _means(judged: Mapping[str, Figures], both: list[str], suffix: str = "") -> Figures:
    """`fve/ours`, `fve/reference`, …: means over the streams that both read."""
    scalars = {}
    for key in ("l0", *SHOWN):
        for name, side in {"ours": "crosscoder", "reference": "reference"}.items():
            keys = [key] if key == "l0" else [f"{key}/{source}" for source in both]
            if set(keys) <= set(judged[side]):
                scalars[f"{key}{suffix}/{name}"] = sum(judged[side][one] for one in keys) / len(keys)
    return scalars


def _turned(judged: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """A row for each figure, a column for each dictionary."""
    figures = dict.fromkeys(key for column in judged.values() for key in column)
    return [{"": key} | {name: column.get(key, "") for name, column in judged.items()} for key in figures]
