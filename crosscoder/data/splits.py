"""What a `data=` choice gives: a store to train on and a store of held-out documents, whatever they are made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from crosscoder.data.harvest import Harvest
from crosscoder.data.store import Store
from crosscoder.data.text import Corpus
from crosscoder.data.tokens import pack
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.sources import Sources


@dataclass(frozen=True)
class Splits:
    """Train and held-out stores; `sources` are what they hold, in the order and with the contrast asked for."""

    train: Store
    heldout: Store
    sources: Sources

    def provenance(self) -> dict:
        """What a saved crosscoder says of its making: enough to evaluate it again."""
        return {
            "train": str(self.train.folder.absolute()),
            "heldout": str(self.heldout.folder.absolute()),
            "tokens_sha256": self.train.tokens_sha256,
            "pair": self.train.meta.get("pair"),
        }


@dataclass(frozen=True)
class Text:
    """Documents that are tokenised, packed and harvested from a pair.

    Args:
        corpora: where the documents come from (crosscoder/data/text.py).
        shares: each corpus's share of the tokens.
        seq_len: tokens per sequence.
    """

    corpora: Sequence[Corpus]
    shares: Sequence[float]
    seq_len: int = 256

    def __post_init__(self) -> None:
        if len(self.corpora) != len(self.shares) or not self.corpora or min(self.shares) <= 0:
            raise UserError(
                f"data needs one positive share per corpus: {len(self.corpora)} corpora, shares {list(self.shares)}"
            )

    def stores(
        self,
        pair: Pair,
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        n_tokens: int,
        n_heldout: int,
    ) -> Splits:
        """Harvest these hookpoints of the pair, or reuse what was harvested; only the named sources, if any are named."""
        sources = pair.sources(hookpoints)
        sources = sources.subset(names or sources.names)
        sizes = {"heldout": n_heldout, "train": n_tokens}
        tokens = {
            split: pack(pair.tokenizer, self.corpora, self.shares, split, n, self.seq_len)  # type: ignore[arg-type]
            for split, n in sizes.items()
        }
        return Splits(**harvest(pair, sources, tokens), sources=sources)


@dataclass(frozen=True)
class Stored:
    """Stores that exist already, ours or foreign: folders as described in crosscoder/data/store.py."""

    train: str
    heldout: str

    def stores(
        self,
        pair: Pair,
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        n_tokens: int,
        n_heldout: int,
    ) -> Splits:
        """Open them; the sources are the named ones, or all of the train store."""
        train, heldout = Store(self.train), Store(self.heldout)
        sources = train.sources.subset(names or train.sources.names)
        heldout.require(sources)
        return Splits(train, heldout, sources)
