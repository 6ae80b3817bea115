"""Batches of held-out tokens with their codes, and the protocol of the columns of the LatentTable.

A column (conf/column/NAME.yaml names its class) is one of two kinds:

    StreamedColumn   sees every batch of one pass over the tokens; it keeps sums, never tokens
    ComputedColumn   is computed after the pass, from the weights or from other columns

`ColumnNeeds` says what either requires. Each may add several columns to the table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.analysis.rule import VerdictRule
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import Index, SparseCode
from crosscoder.core.types import Acts, Tokens
from crosscoder.data import Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.storage.finite import read_finite


@dataclass(frozen=True)
class Batch:
    """Tokens with their activations, reconstruction (both in training units) and code.

    `rows` are the tokens' numbers in the store. Special tokens (BOS and the like) are left out, and
    so are outliers if training left them out.
    """

    acts: Acts
    recon: Acts
    code: SparseCode
    tokens: Tokens
    rows: Int[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.acts)

    def head(self, n: int) -> "Batch":
        """Return the first `n` tokens, or all of them if there are fewer."""
        if n >= len(self):
            return self
        index = self.code.index
        end = int(index.starts[n])
        head_index = Index(index.rows[:end], index.latents[:end], n, index.n_latents)
        code = SparseCode(head_index, self.code.values[:end])
        return Batch(self.acts[:n], self.recon[:n], code, self.tokens[:n], self.rows[:n])


@dataclass(frozen=True)
class TableContext:
    """Everything that a column may use besides the batches.

    Args:
        crosscoder: Folded crosscoder.
        n_tokens: Number of tokens that the pass will show.
        rule: Thresholds of the verdict.
        n_blocks: Number of blocks of consecutive tokens that the bootstrap resamples.
        n_resamples: Number of bootstrap replicates.
        seed: Random seed of the bootstrap.
    """

    crosscoder: Crosscoder
    n_tokens: int
    rule: VerdictRule = VerdictRule()  # noqa: RUF009 (frozen)
    n_blocks: int = 64
    n_resamples: int = 200
    seed: int = 0

    @property
    def diff_pair(self) -> tuple[str, str]:
        """The names of the compared sources; only for a column that needs a pair."""
        pair = self.crosscoder.sources.diff_pair
        assert pair is not None
        return pair


@dataclass(frozen=True)
class ColumnNeeds:
    """Requirements of a column; a crosscoder that does not meet them gets a table without it.

    Args:
        comparable_pair: A pair of compared sources of equal width.
        columns: Names of the columns (in conf/column) that it is computed from.
    """

    comparable_pair: bool = False
    columns: tuple[str, ...] = ()

    def are_met(self, crosscoder: Crosscoder) -> bool:
        """Tell whether a crosscoder has the sources that the column needs."""
        return not self.comparable_pair or crosscoder.sources.comparable is not None


@runtime_checkable
class ColumnState(Protocol):
    """Running sums of one pass over held-out tokens."""

    def update(self, batch: Batch) -> None:
        """Add a batch."""
        ...

    def columns(self) -> Mapping[str, Any]:
        """Return columns of the table by name, one entry per latent."""
        ...


@runtime_checkable
class SummarisedState(ColumnState, Protocol):
    """Sums that also give figures of the whole table, which go into its metadata."""

    def summary(self) -> Mapping[str, float]:
        """Return figures by name."""
        ...


class StreamedColumn:
    """Base class of columns that see every batch of activations."""

    needs: ClassVar[ColumnNeeds] = ColumnNeeds()

    def start(self, context: TableContext) -> ColumnState:
        """Return the sums that this column keeps during one pass."""
        raise NotImplementedError


class ComputedColumn:
    """Base class of columns that are computed from the weights or from other columns."""

    needs: ClassVar[ColumnNeeds] = ColumnNeeds()

    def compute(self, context: TableContext, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return columns of the table by name.

        Args:
            context: The crosscoder and the settings of the analysis.
            table: The columns that this one needs, and perhaps others.
        """
        raise NotImplementedError


Column = StreamedColumn | ComputedColumn


@torch.no_grad()
def encode_store(crosscoder: Crosscoder, store: Store, batch_size: int = 2048) -> Iterator[Batch]:
    """Encode the tokens of a store with a folded crosscoder, in the store's order."""
    device = crosscoder.W_enc.device
    names = crosscoder.sources.names
    exclude = read_figure_exclude(crosscoder.provenance)
    first_row = 0
    for shard in store:
        tokens = store.tokens(shard)
        find_eligible = store.find_eligible(shard, names, exclude).nonzero()[:, 0]
        acts = read_finite(store, shard, names, find_eligible)
        chunks = zip(find_eligible.split(batch_size), acts.split(batch_size), strict=True)
        for rows, chunk in chunks:
            raw = chunk.to(device).float()
            code = crosscoder.encode(raw)
            recon = crosscoder.decode(code)
            sparse = code.to_sparse()
            yield Batch(
                crosscoder.normalise(raw),
                crosscoder.normalise(recon),
                sparse,
                tokens[rows],
                first_row + rows,
            )
        first_row += store.counts[shard]
