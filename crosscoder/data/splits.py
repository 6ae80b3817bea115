"""What a `data=` choice gives: a store to train on and a store of held-out documents, whatever they are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosscoder.data.harvest import Harvest
from crosscoder.data.scale import median_norms
from crosscoder.data.store import Store
from crosscoder.data.text import Corpus, Part
from crosscoder.data.tokens import TokenSet, pack
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.sources import Sources


@dataclass(frozen=True)
class Splits:
    """Stores of three kinds of documents; `sources` are what they hold, in the order and with the contrast asked for.

    Weights are trained on `train`, what inference needs beside them is fitted on `validation`, figures are of `heldout`.
    """

    train: Store
    validation: Store
    heldout: Store
    sources: Sources

    def provenance(self) -> dict:
        """What a saved crosscoder says of its making: enough to evaluate it again."""
        return {
            "train": str(self.train.folder.absolute()),
            "validation": str(self.validation.folder.absolute()),
            "heldout": str(self.heldout.folder.absolute()),
            "tokens_sha256": self.train.tokens_sha256,
            "pair": self.train.meta.get("pair"),
            "median_norms": median_norms(self.heldout, self.sources),
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
        sizes: Mapping[Part, int],
    ) -> Splits:
        """Harvest these hookpoints of the pair, or reuse what was harvested; only the named sources, if any are named."""
        every = pair.sources(hookpoints)
        sources = every.subset(names or every.names)
        tokens: dict[str, TokenSet] = {
            part: pack(pair.tokenizer, self.corpora, self.shares, part, n, self.seq_len) for part, n in sizes.items()
        }
        return Splits(**harvest(pair, every.behind(sources.names), tokens), sources=sources)


@dataclass(frozen=True)
class Stored:
    """Stores that exist already, ours or foreign: folders as described in crosscoder/data/store.py.

    Without a validation store the train store serves.
    """

    train: str
    heldout: str
    validation: str | None = None

    def stores(
        self,
        pair: Pair,
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        sizes: Mapping[Part, int],
    ) -> Splits:
        """Open them; the sources are the named ones, or all of the train store."""
        train, heldout = Store(self.train), Store(self.heldout)
        sources = train.sources.subset(names or train.sources.names)
        validation = Store(self.validation) if self.validation else train
        for store in (validation, heldout):
            store.require(sources)
        return Splits(train, validation, heldout, sources)
