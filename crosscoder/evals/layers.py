"""The difference by depth: several layers harvested in one pass, a small crosscoder for each, what differs there."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from crosscoder.data import Harvest, Store
from crosscoder.data.tokens import head
from crosscoder.diff.analysis import Analysis
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Subject
from crosscoder.evals.beside import trained_beside
from crosscoder.evals.diff import summary
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.lm import Pair
from crosscoder.sources import Sources


@dataclass(frozen=True)
class LayersEval:
    """Scalars `fve_difference/<hookpoint>`, `relative_difference/<hookpoint>`, `count/<verdict>/<hookpoint>`.

    Args:
        analysis: as in the diff eval.
        layers: which; None: `n_layers` spread evenly over the model.
        site: of the hookpoints.
        n_tokens, n_heldout: harvested of the crosscoder's own tokens.
        n_latents, train_tokens: of each small crosscoder.
    """

    analysis: Analysis
    layers: Sequence[int] | None = None
    n_layers: int = 4
    site: str = "resid_post"
    n_tokens: int = 65_536
    n_heldout: int = 12_288
    n_latents: int = 1024
    train_tokens: int = 500_000

    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        pair, contrast = subject.pair, subject.crosscoder.sources.comparable
        if pair is None or contrast is None:
            raise NotApplicable("layers needs the language models and two contrasted sources of equal width")
        lms = [subject.crosscoder.sources[name].lm for name in contrast]
        hookpoints = [f"{self.site}.{layer}" for layer in self.layers or self._spread(pair, lms[0])]
        train, _, heldout = subject.stores()
        tokens = {"train": head(train, self.n_tokens), "heldout": head(heldout, self.n_heldout)}
        harvest = Harvest(heldout.folder.parent, shard_tokens=train.counts[0])
        # every hookpoint is a source of its own, so that one pass reads them all; a single one would lose its name
        stores = harvest(pair, pair.sources(hookpoints, lms), tokens)
        rows = []
        for hookpoint in hookpoints:
            names = [f"{lm}.{hookpoint}" if len(hookpoints) > 1 else lm for lm in lms]
            rows.append({"hookpoint": hookpoint, **self._row(subject, stores, hookpoint, (names[0], names[1]))})
        scalars = {
            f"{key}/{row['hookpoint']}": value for row in rows for key, value in row.items() if key != "hookpoint"
        }
        meta = {"n_tokens": len(stores["heldout"]), "seconds": time.perf_counter() - start, "seed": subject.seed}
        return Result("layers", scalars, {"by depth": rows}, meta)

    def _row(
        self, subject: Subject, stores: dict[str, Store], hookpoint: str, contrast: tuple[str, str]
    ) -> dict[str, Any]:
        train, heldout = stores["train"], stores["heldout"]
        sources = Sources(tuple(train.sources[name] for name in reversed(contrast)), contrast)
        settings = {"n_latents": self.n_latents, "train_tokens": self.train_tokens}
        crosscoder = trained_beside(subject, (train, train), hookpoint, subject.seed, sources, **settings)
        quality = ReconstructionEval()(Subject(crosscoder, heldout, None)).scalars
        lms = {name: sources[name].lm for name in contrast}
        counts = summary(self.analysis(crosscoder, heldout))
        classes = {f"count/{name}_specific": f"count/{lm}_specific" for name, lm in lms.items()}
        return {
            "fve_difference": quality["fve/difference"],
            **{f"fve_{lm}": quality[f"fve/{name}"] for name, lm in lms.items()},
            "relative_difference": relative_difference(heldout, contrast),
            **{classes.get(key, key): value for key, value in counts.items() if key.startswith("count/")},
        }

    def _spread(self, pair: Pair, lm: str) -> list[int]:
        depth = len(pair.lms[lm].skeleton().get_decoder().layers)  # type: ignore[arg-type]
        return sorted({round((i + 1) * depth / (self.n_layers + 1)) for i in range(min(self.n_layers, depth))})


def relative_difference(store: Store, contrast: tuple[str, str]) -> float:
    """Median over tokens of ‖x_chat − x_base‖ / ‖x_base‖: a few tokens of huge norm have no say."""
    ratios = []
    for shard in store:
        chat, base = (store.acts(shard, [name]).float() for name in contrast)
        ratios.append((chat - base).norm(dim=-1) / base.norm(dim=-1))
    return float(torch.cat(ratios).median())
