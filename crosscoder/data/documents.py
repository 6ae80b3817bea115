"""Documents that are tokenised, packed and harvested."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from crosscoder import distributed
from crosscoder.core.sources import Sources
from crosscoder.data.aligned import pack_aligned
from crosscoder.data.corpora.corpus import Corpus, Split
from crosscoder.data.harvest import Harvest
from crosscoder.data.packing import pack_documents
from crosscoder.data.splits import Splits
from crosscoder.data.streaming import Stream
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.values import is_finite, require_choice, require_flag, require_whole


@dataclass(frozen=True)
class Text:
    """Documents that are tokenised, packed and harvested from a pair; a choice of `data`.

    Args:
        corpora: The corpora (crosscoder/data/corpora/text.py).
        shares: Share of the tokens that each corpus gets.
        seq_len: Tokens per sequence.
        mode: "store" keeps the activations of the training tokens on disk; "stream" trains on them
            as the models compute them.
        buffer_tokens: Tokens of a stream that are in memory.
        sample_tokens: Tokens of a stream, from the first on, that are kept on disk, to measure its
            scale.
        repeat: Whether the text of a stream begins again where it ends, or after `n_tokens`. If
            not, no token is trained on twice: training ends there, and the run is finished with
            what has been learnt.
        max_unusable: The largest fraction of rows that may be left out because they have no
            document, or a chat that the chat template refuses. More of them are an error, once 20
            rows have been read.
    """

    corpora: Sequence[Corpus]
    shares: Sequence[float]
    seq_len: int = 256
    mode: Literal["store", "stream"] = "store"
    buffer_tokens: int = 500_000
    sample_tokens: int = 65_536
    repeat: bool = True
    max_unusable: float = 0.1

    def __post_init__(self) -> None:
        require_choice("data.mode", self.mode, ("store", "stream"))
        require_whole("data.seq_len", self.seq_len, least=2)
        require_whole("data.buffer_tokens", self.buffer_tokens, least=2)
        require_whole("data.sample_tokens", self.sample_tokens, least=1)
        require_flag("data.repeat", self.repeat)
        is_zero = self.max_unusable == 0 and not isinstance(self.max_unusable, bool)
        if not is_zero and not (is_finite(self.max_unusable) and 0 < self.max_unusable <= 1):
            raise UserError(
                f"data.max_unusable is a fraction from 0 to 1, not {self.max_unusable!r}"
            )
        self._require_shares()

    def _require_shares(self) -> None:
        are_lists = isinstance(self.corpora, list | tuple) and isinstance(self.shares, list | tuple)
        if not are_lists:
            raise UserError(
                f"data.corpora and data.shares are lists, not {self.corpora!r} and {self.shares!r}"
            )
        are_positive = all(is_finite(share) and share > 0 for share in self.shares)
        if not self.corpora or len(self.corpora) != len(self.shares) or not are_positive:
            raise UserError(
                f"data needs one positive share per corpus: {len(self.corpora)} corpora, "
                f"shares {list(self.shares)}"
            )

    def get_sources(
        self, pair: Pair, hookpoints: Sequence[str], names: Sequence[str] | None
    ) -> Sources:
        """Return the sources at these hookpoints of the pair, or the named ones."""
        available = pair.sources(hookpoints)
        return available.subset(names or available.names)

    def make_splits(
        self,
        pair: Pair,
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        sizes: Mapping[Split, int],
    ) -> Splits:
        """Harvest the stores, or reuse what was harvested before.

        Args:
            pair: The models.
            hookpoints: Hookpoints of all models.
            names: Names of the sources; None for all.
            harvest: Settings of the harvest.
            sizes: Number of tokens by split.
        """
        for split, size in sizes.items():
            require_whole("n_tokens" if split == "train" else f"n_{split}", size, least=1)
        sources = self.get_sources(pair, hookpoints, names)
        read = pair.sources(hookpoints).required_sources(sources.names)
        stream = None
        if self.mode == "stream":
            self._require_streamable(pair)
            stream = self._make_stream(pair, read, sources, harvest, sizes["train"])
            sizes = {**sizes, "train": min(sizes["train"], self.sample_tokens)}
        lms = {source.lm for source in read}
        token_sets = {split: self._pack(pair, lms, split, n) for split, n in sizes.items()}
        stores = harvest.run(pair, read, token_sets)
        return Splits(**stores, sources=sources, stream=stream)

    def _require_streamable(self, pair: Pair) -> None:
        if pair.is_aligned:
            raise UserError(
                "data.mode=stream needs one tokenizer for all models; "
                "with models.align=spans, use data.mode=store"
            )
        if not self.repeat and distributed.size() > 1:
            raise UserError(
                "data.repeat=false ends training where the text ends, which "
                f"{distributed.size()} processes may not reach at the same step; "
                "use one process, or data.repeat=true"
            )

    def _make_stream(
        self, pair: Pair, read: Sources, sources: Sources, harvest: Harvest, n_tokens: int
    ) -> Stream:
        return Stream(
            pair,
            read,
            sources,
            self.corpora,
            self.shares,
            self.seq_len,
            n_tokens,
            harvest.get_batch_tokens(pair.device.type),
            self.buffer_tokens,
            repeat=self.repeat,
            max_unusable=self.max_unusable,
        )

    def _pack(self, pair: Pair, lms: Collection[str], split: Split, n_tokens: int) -> TokenSet:
        if pair.is_aligned:
            return self._pack_aligned(pair, split, n_tokens)
        # only a sample of a stream is kept, and a text that is shorter than the sample is accepted
        takes_less = self.mode == "stream" and split == "train"
        return pack_documents(
            pair.tokenizer,
            self.corpora,
            self.shares,
            split,
            n_tokens,
            self.seq_len,
            self.max_unusable,
            takes_less=takes_less,
            require=partial(pair.require_ids, lms=lms),
        )

    def _pack_aligned(self, pair: Pair, split: Split, n_tokens: int) -> TokenSet:
        aligned = pack_aligned(
            pair.tokenizers,
            pair.leader,
            self.corpora,
            self.shares,
            split,
            n_tokens,
            self.seq_len,
            self.max_unusable,
        )
        for lm, own in aligned.own.items():
            pair.require_ids(own.ids.unique().tolist(), [lm])
        return aligned
