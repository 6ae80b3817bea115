"""From a crosscoder and held-out activations to the LatentTable: one pass, in which each part takes what it needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from crosscoder.data import Store
from crosscoder.diff.activity import Activity
from crosscoder.diff.base import Part, batches
from crosscoder.diff.energy import Energy
from crosscoder.diff.norms import norms
from crosscoder.diff.presence import presence
from crosscoder.diff.scaling import Scaling
from crosscoder.diff.table import LatentTable
from crosscoder.diff.twins import Twins
from crosscoder.diff.verdict import Rule
from crosscoder.errors import UserError
from crosscoder.memory import kept
from crosscoder.model import Crosscoder
from crosscoder.progress import progress


@dataclass(frozen=True)
class Analysis:
    """Makes the LatentTable of a crosscoder.

    Args:
        rule: thresholds of the verdict.
        n_tokens: of held-out tokens, at most.
        n_blocks, n_resamples: how finely latent scaling is bootstrapped.
        batch_size: tokens at a time.
        seed: of the bootstrap.
    """

    rule: Rule = Rule()  # noqa: RUF009 (frozen)
    n_tokens: int = 1_000_000
    n_blocks: int = 64
    n_resamples: int = 200
    batch_size: int = 2048
    seed: int = 0

    @torch.no_grad()
    def __call__(self, crosscoder: Crosscoder, store: Store, more: Sequence[Part] = ()) -> LatentTable:
        """The table; `more` are further parts that are shown every batch, and give columns, too.

        Without a contrast it has no columns of differences; with a contrast of unequal widths, none of angles and scaling.
        """
        store.require(crosscoder.sources)
        n_tokens = min(self.n_tokens, sum(int(store.tokens(i).ordinary.sum()) for i in store))
        if not n_tokens:
            raise UserError(f"store {store.folder} has no token to analyse but special ones")
        contrast = crosscoder.sources.comparable
        parts: list[Part] = [Activity(crosscoder.n_latents)]
        if contrast:
            scaling = Scaling(crosscoder, n_tokens, self.n_blocks, self.n_resamples, self.seed)
            parts += [Energy(crosscoder, *contrast), Twins(crosscoder, *contrast), scaling]
        parts += more
        left = n_tokens
        with kept(), progress() as bar:
            task = bar.add_task("analyse", total=n_tokens, note="")
            for batch in batches(crosscoder, store, self.batch_size):
                batch = batch.head(left)
                for part in parts:
                    part.update(batch)
                bar.advance(task, len(batch))
                if not (left := left - len(batch)):
                    break
        columns: dict[str, Any] = dict(norms(crosscoder))
        for part in parts:
            columns |= part.columns()
        if contrast:
            columns |= presence(columns, contrast)
            columns = {"verdict": self.rule(columns, *contrast)} | columns
        return LatentTable.of(columns, self._meta(crosscoder, store, n_tokens, parts))

    def _meta(self, crosscoder: Crosscoder, store: Store, n_tokens: int, parts: Sequence[Part]) -> dict[str, Any]:
        sources = crosscoder.sources
        summaries = (part.summary() for part in parts if isinstance(part, Energy))
        return {
            "sources": list(sources.names),
            "contrast": sources.contrast and list(sources.contrast),
            "hookpoints": {source.name: source.hookpoint for source in sources},
            "n_tokens": n_tokens,
            "store": str(store.folder),
            "units": "training",
            "rule": asdict(self.rule),
            "seed": self.seed,
            "difference": next(summaries, {}),
        }
