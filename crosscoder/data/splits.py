"""What a `data=` choice gives: a store to train on and a store of held-out documents, whatever they are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from crosscoder.data.aligned import pack_aligned
from crosscoder.data.harvest import Harvest
from crosscoder.data.scale import median_norms
from crosscoder.data.store import Store
from crosscoder.data.stream import Stream
from crosscoder.data.text import Corpus, Part
from crosscoder.data.tokens import TokenSet, pack
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.sources import Sources


@dataclass(frozen=True)
class Splits:
    """Stores of three kinds of documents; `sources` are what they hold, in the order and with the contrast asked for.

    Weights are trained on `train`, what inference needs beside them is fitted on `validation`, figures are of `heldout`. With a
    `stream` weights are trained on that, and `train` holds its first tokens.
    """

    train: Store
    validation: Store
    heldout: Store
    sources: Sources
    stream: Stream | None = None

    def provenance(self) -> dict:
        """What a saved crosscoder says of its making: enough to evaluate it again."""
        return {
            "train": None if self.stream else str(self.train.folder.absolute()),
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
        mode: "store" keeps the training tokens' activations on disk; "stream" trains on them as they come from the models.
        buffer_tokens, sample_tokens: of a stream: how many are in memory, and on how many of the first its scale is measured.
    """

    corpora: Sequence[Corpus]
    shares: Sequence[float]
    seq_len: int = 256
    mode: Literal["store", "stream"] = "store"
    buffer_tokens: int = 500_000
    sample_tokens: int = 65_536

    def __post_init__(self) -> None:
        if len(self.corpora) != len(self.shares) or not self.corpora or min(self.shares) <= 0:
            raise UserError(
                f"data needs one positive share per corpus: {len(self.corpora)} corpora, shares {list(self.shares)}"
            )
        if self.mode not in ("store", "stream"):
            raise UserError(f"data.mode is store or stream, not {self.mode!r}")

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
        read, stream = every.behind(sources.names), None
        if self.mode == "stream" and pair.aligned:
            raise UserError(
                "data.mode=stream needs one tokenizer for all models; with models.align=spans there is data.mode=store"
            )
        if self.mode == "stream":
            text = self.corpora, self.shares, self.seq_len, sizes["train"]
            stream = Stream(pair, read, sources, *text, harvest.batch_tokens, self.buffer_tokens)
            sizes = {**sizes, "train": min(sizes["train"], self.sample_tokens)}
        tokens = {part: self._packed(pair, part, n) for part, n in sizes.items()}
        return Splits(**harvest(pair, read, tokens), sources=sources, stream=stream)

    def _packed(self, pair: Pair, part: Part, n_tokens: int) -> TokenSet:
        given = self.corpora, self.shares, part, n_tokens, self.seq_len
        return pack_aligned(pair.tokenizers, pair.leader, *given) if pair.aligned else pack(pair.tokenizer, *given)


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
