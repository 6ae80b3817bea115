"""The stores of a run: for training, validation and held-out figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from crosscoder.core.sources import Sources
from crosscoder.data.corpora.corpus import Split
from crosscoder.data.exclude import EXCLUDE
from crosscoder.data.harvest import Harvest
from crosscoder.data.normalization import measure_median_norms
from crosscoder.data.storage.finite import require_finite
from crosscoder.data.storage.store import Store
from crosscoder.errors import UserError

if TYPE_CHECKING:
    import crosscoder.data.streaming
    import crosscoder.lm


@dataclass(frozen=True)
class Splits:
    """Stores of three kinds of documents.

    Args:
        train: The store on which weights are trained; with a stream, its first tokens.
        validation: The store on which the rest of what inference needs is fitted.
        heldout: The store of the figures.
        sources: The sources that were asked for, in order, with the pair that is compared.
        stream: The stream on which weights are trained instead of `train`.
    """

    train: Store
    validation: Store
    heldout: Store
    sources: Sources
    stream: Optional["crosscoder.data.streaming.Stream"] = None

    def __post_init__(self) -> None:
        for store in (self.train, self.validation, self.heldout):
            if not any(store.tokens(shard).is_content.any() for shard in store):
                raise UserError(
                    f"store {store.folder} has no tokens but special ones: "
                    "nothing can be learnt or measured on it"
                )

    def provenance(self, run: Path | None = None) -> dict:
        """Return the data's entries of a crosscoder's provenance: enough to evaluate it again.

        Args:
            run: The run folder. Folders inside it are named relative to it, so that the run can be
                moved; all others are absolute.
        """
        return {
            "train": None if self.stream else _name_folder(run, self.train.folder),
            "validation": _name_folder(run, self.validation.folder),
            "heldout": _name_folder(run, self.heldout.folder),
            "tokens_sha256": self.train.tokens_sha256,
            "pair": self.train.meta.get("pair"),
            "median_norms": measure_median_norms(self.heldout, self.sources),
        }


def _name_folder(run: Path | None, folder: Path) -> str:
    """Return a folder's absolute path, or its path in the run folder if it is inside."""
    if run is not None and folder.resolve().is_relative_to(run.resolve()):
        return folder.resolve().relative_to(run.resolve()).as_posix()
    return str(folder.absolute())


@dataclass(frozen=True)
class Stored:
    """Stores that exist already, from this package or from elsewhere; a choice of `data`.

    Args:
        train: Folder of a store, in the format of crosscoder/data/storage/store.py.
        heldout: Folder of the store of the figures.
        validation: Folder of a third store; without it the train store is used.
    """

    train: str
    heldout: str
    validation: str | None = None

    def get_sources(
        self,
        pair: "crosscoder.lm.Pair",
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
    ) -> Sources:
        """Return the sources of the train store, or the named ones."""
        held = Store(self.train).sources
        return held.subset(names or held.names)

    def make_splits(
        self,
        pair: "crosscoder.lm.Pair",
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        sizes: Mapping[Split, int],
    ) -> Splits:
        """Open the stores, and refuse NaN and infinity in those on which something is measured."""
        train = Store(self.train)
        heldout = Store(self.heldout)
        validation = Store(self.validation) if self.validation else train
        sources = train.sources.subset(names or train.sources.names)
        for store in (train, validation, heldout):
            store.require(sources)
        # a harvested store is finite; one from elsewhere may not be
        require_finite(heldout, sources, EXCLUDE)
        if self.validation:
            require_finite(validation, sources, EXCLUDE)
        return Splits(train, validation, heldout, sources)
