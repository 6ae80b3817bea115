"""The LatentTable of a crosscoder: one pass over held-out tokens, then the computed columns.

Which columns a table has is set by conf/column. They stand in the order of that list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch

from crosscoder.analysis.base import (
    Column,
    ColumnState,
    ComputedColumn,
    StreamedColumn,
    SummarisedState,
    TableContext,
    encode_store,
)
from crosscoder.analysis.defaults import default_columns
from crosscoder.analysis.rule import VerdictRule
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.outliers import count_excluded
from crosscoder.errors import UserError
from crosscoder.io.checksum import combine_checksums
from crosscoder.runtime.memory import retain_freed_memory
from crosscoder.runtime.progress import progress
from crosscoder.values import require_types, require_whole

Columns = Mapping[str, Any]  # by name, one entry per latent


@dataclass(frozen=True)
class Analysis:
    """Makes the LatentTable of a crosscoder.

    Args:
        rule: Thresholds of the verdict.
        n_tokens: Largest number of held-out tokens.
        n_blocks: Number of blocks of tokens that the bootstrap of latent scaling resamples.
        n_resamples: Number of bootstrap replicates.
        batch_size: Tokens encoded together.
        seed: Random seed of the bootstrap.
        columns: Columns by their names in conf/column, in the order of the table.
    """

    rule: VerdictRule = VerdictRule()  # noqa: RUF009 (frozen)
    n_tokens: int = 1_000_000
    n_blocks: int = 64
    n_resamples: int = 200
    batch_size: int = 2048
    seed: int = 0
    columns: Mapping[str, Column] = field(default_factory=default_columns)

    def __post_init__(self) -> None:
        for name in ("n_tokens", "n_blocks", "n_resamples", "batch_size"):
            require_whole(f"analysis.{name}", getattr(self, name))
        if not self.columns:
            raise UserError("the table of latents needs at least one column, e.g. column=[norms]")
        for name, column in self.columns.items():
            missing = [needed for needed in column.needs.columns if needed not in self.columns]
            if missing:
                raise UserError(
                    f"column {name} is computed from {' and '.join(missing)}: "
                    f"add column=[…,{','.join(missing)}] or leave out {name}"
                )
        self._order_by_needs()  # refuses columns that need each other
        require_types("analysis", self)

    @torch.no_grad()
    def make_table(
        self, crosscoder: Crosscoder, store: Store, more: Sequence[ColumnState] = ()
    ) -> LatentTable:
        """Return the table of a folded crosscoder on a store of held-out activations.

        A crosscoder without a compared pair gets no columns of differences; with a pair of unequal
        widths it gets no angles and no scaling.

        Args:
            crosscoder: Folded crosscoder.
            store: Activations of its sources.
            more: Further objects that see every batch; their columns come last.
        """
        store.require(crosscoder.sources)
        n_tokens = self._count_tokens(crosscoder, store)
        context = TableContext(
            crosscoder, n_tokens, self.rule, self.n_blocks, self.n_resamples, self.seed
        )
        states = {
            name: column.start(context)
            for name, column in self.columns.items()
            if isinstance(column, StreamedColumn) and column.needs.are_met(crosscoder)
        }
        self._run_pass(context, store, [*states.values(), *more])
        groups: dict[str, Columns] = {name: state.columns() for name, state in states.items()}
        self._compute(context, groups)

        columns: dict[str, Any] = {}
        for name in self.columns:
            columns |= groups.get(name, {})
        for state in more:
            columns |= state.columns()
        meta = self._describe(crosscoder, store, n_tokens, list(states.values()))
        return LatentTable.from_columns(columns, meta)

    def _count_tokens(self, crosscoder: Crosscoder, store: Store) -> int:
        """Return the number of tokens that the pass will show."""
        names = crosscoder.sources.names
        exclude = read_figure_exclude(crosscoder.provenance)
        n_eligible = sum(int(store.find_eligible(shard, names, exclude).sum()) for shard in store)
        if not n_eligible:
            raise UserError(
                f"the store {store.folder} has no token to analyse: all of them are special tokens "
                "or outliers"
            )
        return min(self.n_tokens, n_eligible)

    def _run_pass(self, context: TableContext, store: Store, states: Sequence[ColumnState]) -> None:
        """Show every batch to every state."""
        n_left = context.n_tokens
        with retain_freed_memory(), progress() as bar:
            task = bar.add_task("analyse", total=context.n_tokens, note="")
            for whole_batch in encode_store(context.crosscoder, store, self.batch_size):
                batch = whole_batch.head(n_left)
                for state in states:
                    state.update(batch)
                bar.advance(task, len(batch))
                n_left -= len(batch)
                if not n_left:
                    break

    def _compute(self, context: TableContext, groups: dict[str, Columns]) -> None:
        """Add the computed columns, each after those that it needs."""
        for name in self._order_by_needs():
            column = self.columns[name]
            if not isinstance(column, ComputedColumn):
                continue
            if not column.needs.are_met(context.crosscoder):
                continue
            if any(needed not in groups for needed in column.needs.columns):
                continue  # the crosscoder does not have those
            table: dict[str, Any] = {}
            for group in groups.values():
                table |= group
            groups[name] = column.compute(context, table)

    def _order_by_needs(self) -> list[str]:
        graph = {name: column.needs.columns for name, column in self.columns.items()}
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cycle = " → ".join(error.args[1])
            raise UserError(f"columns are computed from each other: {cycle}") from error

    def _describe(
        self, crosscoder: Crosscoder, store: Store, n_tokens: int, states: Sequence[ColumnState]
    ) -> dict[str, Any]:
        """Return the metadata of the table: what was analysed, and how."""
        sources = crosscoder.sources
        difference: dict[str, float] = {}
        for state in states:
            if isinstance(state, SummarisedState):
                difference |= state.summary()
        return {
            "sources": list(sources.names),
            "contrast": sources.diff_pair and list(sources.diff_pair),
            "hookpoints": {source.name: source.hookpoint for source in sources},
            "n_tokens": n_tokens,
            "excluded": count_excluded(store, sources, read_figure_exclude(crosscoder.provenance)),
            "store": str(store.folder),
            "crosscoder_sha256": combine_checksums(crosscoder.provenance.get("sha256")),
            "units": "training",
            "rule": asdict(self.rule),
            "seed": self.seed,
            "difference": difference,
        }
