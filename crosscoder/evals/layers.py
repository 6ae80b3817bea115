"""The difference by depth: several layers, harvested in one pass, and a small crosscoder each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.data import Harvest, Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.diff import summarise
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.kept import is_kept
from crosscoder.lm import Pair
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import SITES
from crosscoder.values import require_choice, require_types, require_whole


@dataclass(frozen=True)
class LayersEval:
    """Figures of a small crosscoder at each of several layers.

    Scalars: `fve_difference/<hookpoint>`, `relative_difference/<hookpoint>` and
    `count/<verdict>/<hookpoint>`.

    Args:
        layers: Numbers of the layers; None: `n_layers` spread evenly over the model.
        n_layers: Number of layers, if `layers` does not name them.
        site: Site of the hookpoints.
        n_tokens: Number of the crosscoder's own training tokens that are harvested.
        n_heldout: Number of its held-out tokens that are harvested.
        n_latents: Latents of each small crosscoder.
        train_tokens: Tokens that each is trained on.
    """

    layers: Sequence[int] | None = None
    n_layers: int = 4
    site: str = "resid_post"
    n_tokens: int = 65_536
    n_heldout: int = 12_288
    n_latents: int = 1024
    train_tokens: int = 500_000

    def __post_init__(self) -> None:
        require_choice("eval.layers.site", self.site, SITES)
        for name in ("n_layers", "n_tokens", "n_heldout", "n_latents", "train_tokens"):
            require_whole(f"eval.layers.{name}", getattr(self, name))
        for layer in self.layers or ():
            require_whole("a layer of eval.layers.layers", layer, least=0)
        require_types("eval.layers", self)

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        diff_pair = context.crosscoder.sources.comparable
        if context.pair is None or diff_pair is None:
            raise NotApplicable(
                "layers needs the language models and two compared sources of equal width"
            )
        lms = [context.crosscoder.sources[name].lm for name in diff_pair]
        hookpoints = self._list_hookpoints(context, context.pair, diff_pair)
        stores = self._harvest(context, context.pair, hookpoints, lms)
        rows = []
        for hookpoint in hookpoints:
            # a harvest of several hookpoints names its sources by hookpoint, too
            names = [f"{lm}.{hookpoint}" if len(hookpoints) > 1 else lm for lm in lms]
            row = self._make_row(context, stores, hookpoint, (names[0], names[1]))
            rows.append({"hookpoint": hookpoint, **row})
        scalars = {}
        for row in rows:
            for key, value in row.items():
                if key != "hookpoint":
                    scalars[f"{key}/{row['hookpoint']}"] = value
        meta = {"n_tokens": len(stores["heldout"])}
        return Result("layers", scalars, {"by depth": rows}, meta)

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> list[int]:
        """Return the training tokens of each crosscoder that is not kept from before."""
        diff_pair = context.crosscoder.sources.comparable
        if context.pair is None or diff_pair is None:
            return []
        tokens = []
        for hookpoint in self._list_hookpoints(context, context.pair, diff_pair):
            settings = {"n_latents": self.n_latents, "train_tokens": self.train_tokens}
            if not is_kept(context, hookpoint, context.seed, self._origin, **settings):
                tokens.append(self.train_tokens)
        return tokens

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: other layers are harvested."""
        return True

    @property
    def _origin(self) -> tuple[int, int]:
        return self.n_tokens, self.n_heldout

    def _list_hookpoints(
        self, context: EvalContext, pair: Pair, diff_pair: tuple[str, str]
    ) -> list[str]:
        first = context.crosscoder.sources[diff_pair[0]]
        layers = self.layers or self._spread_layers(pair, first.lm)
        return [f"{self.site}.{layer}" for layer in layers]

    def _harvest(
        self, context: EvalContext, pair: Pair, hookpoints: list[str], lms: list[str]
    ) -> dict[str, Store]:
        """Harvest all hookpoints in one pass."""
        train, _, heldout = context.open_stores()
        tokens = {
            "train": TokenSet.from_store(train).take(self.n_tokens),
            "heldout": TokenSet.from_store(heldout).take(self.n_heldout),
        }
        harvest = Harvest(heldout.folder.parent, shard_tokens=train.counts[0])
        return harvest.run(pair, pair.sources(hookpoints, lms), tokens)

    def _make_row(
        self,
        context: EvalContext,
        stores: dict[str, Store],
        hookpoint: str,
        diff_pair: tuple[str, str],
    ) -> dict[str, Any]:
        """Train a small crosscoder at a hookpoint, and return its figures."""
        train = stores["train"]
        heldout = stores["heldout"]
        sources = Sources(tuple(train.sources[name] for name in reversed(diff_pair)), diff_pair)
        crosscoder = train_auxiliary(
            context,
            (train, train),
            hookpoint,
            context.seed,
            sources,
            self._origin,
            n_latents=self.n_latents,
            train_tokens=self.train_tokens,
        )
        quality = ReconstructionEval()(EvalContext(crosscoder, heldout, None)).scalars
        lms = {name: sources[name].lm for name in diff_pair}
        row = {"fve_difference": quality.get("fve/difference", float("nan"))}
        for name, lm in lms.items():
            row[f"fve_{lm}"] = quality[f"fve/{name}"]
        row["relative_difference"] = relative_difference(heldout, diff_pair)
        return row | _count_verdicts(context, crosscoder, heldout, lms)

    def _spread_layers(self, pair: Pair, lm: str) -> list[int]:
        """Return `n_layers` numbers of layers, spread evenly over a language model."""
        depth = len(get_layers(pair.lms[lm].build_skeleton()))
        n_layers = min(self.n_layers, depth)
        return sorted({round((i + 1) * depth / (self.n_layers + 1)) for i in range(n_layers)})


def _count_verdicts(
    context: EvalContext, crosscoder: Crosscoder, heldout: Store, lms: dict[str, str]
) -> dict[str, float]:
    """Return `count/<verdict>`; classes are named after language models, not after sources."""
    scalars = summarise(context.analysis.make_table(crosscoder, heldout))
    new_keys = {f"count/{name}_specific": f"count/{lm}_specific" for name, lm in lms.items()}
    counts = {}
    for key, value in scalars.items():
        if key.startswith("count/"):
            counts[new_keys.get(key, key)] = value
    return counts


def relative_difference(store: Store, diff_pair: tuple[str, str]) -> float:
    """Return the median over tokens of ‖x_chat − x_base‖ / ‖x_base‖.

    A median, so that a few tokens of huge norm do not count.
    """
    first, second = diff_pair
    ratios = []
    for shard in store:
        chat = store.acts(shard, [first]).float()
        base = store.acts(shard, [second]).float()
        ratios.append((chat - base).norm(dim=-1) / base.norm(dim=-1))
    return float(torch.cat(ratios).nanmedian())  # a token on which both are zero has no ratio
