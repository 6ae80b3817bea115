"""The context of an eval: a saved crosscoder, held-out activations, the language models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.base import ColumnState
from crosscoder.analysis.calibration import Calibration
from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.core.model import Crosscoder
from crosscoder.data import Store
from crosscoder.errors import NotApplicable
from crosscoder.evals.support.stores import find_store
from crosscoder.io.checksum import combine_checksums
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.training import Recipe


@dataclass(frozen=True)
class EvalContext:
    """A folded crosscoder, held-out activations, and what evals need besides.

    Args:
        crosscoder: The crosscoder that is evaluated.
        heldout: Activations of held-out documents.
        pair: The language models; None if the crosscoder was trained without any.
        seed: Random seed of the evals.
        load_recipe: Returns the recipe that the crosscoder was trained by, for evals that train
            other crosscoders; None if it is unknown.
        folder: Run folder; crosscoders that an eval trains are saved in it.
        analysis: Makes the LatentTable, of this crosscoder and of those that evals train.
        behaviour: The behaviour that evals with questions measure; None if none was chosen.
        calibrations: The calibration of the verdict; empty if there is none. The eval `nulls` adds
            its own.
    """

    crosscoder: Crosscoder
    heldout: Store
    pair: Pair | None
    seed: int = 0
    load_recipe: Callable[[], Recipe] | None = None
    folder: Path | None = None
    analysis: Analysis = field(default_factory=Analysis)
    behaviour: BehaviourSpec | None = None
    calibrations: list[Calibration] = field(default_factory=list, repr=False)
    # holds at most one table; a copy with another crosscoder or store begins without one
    _tables: list[LatentTable] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def crosscoder_sha256(self) -> str | None:
        """The hash of the files that the crosscoder was loaded from; None if it was not loaded."""
        return combine_checksums(self.crosscoder.provenance.get("sha256"))

    # --- the table of latents ---

    @property
    def latent_table(self) -> LatentTable:
        """The LatentTable of the crosscoder on the held-out tokens, computed once for all evals."""
        if not self._tables:
            self.make_latent_table()
        return self._tables[0]

    def make_latent_table(self, parts: Sequence[ColumnState] = ()) -> LatentTable:
        """Analyse the held-out tokens, and keep the table for the evals that follow.

        Args:
            parts: Objects that see every batch of the same pass. They add no columns.
        """
        table = self.judge(self.analysis.make_table(self.crosscoder, self.heldout, parts))
        self._tables[:] = [table]
        return table

    def judge(self, table: LatentTable) -> LatentTable:
        """Return a table with the calibrated verdict, if there is a calibration."""
        if not self.calibrations or "verdict" not in table.columns:
            return table
        return self.calibrations[0].apply(table, self.analysis.rule)

    def calibrate(self, calibration: Calibration) -> None:
        """Use a calibration of the verdict from now on, also for the table that is kept."""
        self.calibrations[:] = [calibration]
        self._tables[:] = [self.judge(table) for table in self._tables]

    # --- the behaviour ---

    def require_behaviour(self, user: str) -> BehaviourSpec:
        """Return the behaviour.

        Args:
            user: Name of the eval that needs it, for the message.

        Raises:
            NotApplicable: No behaviour was chosen.
        """
        if self.behaviour is None:
            raise NotApplicable(
                f"{user} needs a behaviour, but none was chosen: set behaviour=NAME, e.g. "
                "behaviour=expertise (see conf/behaviour)"
            )
        return self.behaviour

    # --- the language models ---

    def require_models(self, user: str) -> Pair:
        """Return the language models.

        Args:
            user: Name of the eval that needs them, for the message.

        Raises:
            NotApplicable: There are no language models, they lack a source of the crosscoder, or
                they have different tokenizers.
        """
        if self.pair is None:
            raise NotApplicable(
                f"{user} needs the language models, but this crosscoder was trained without any"
            )
        if unreadable := self.find_unreadable_sources():
            raise NotApplicable(
                f"{user} needs the language models, but none of them has the source "
                f"{', '.join(unreadable)}"
            )
        if self.pair.is_aligned:
            raise NotApplicable(
                f"{user} needs language models with one tokenizer, but "
                f"{', '.join(self.pair.lms)} have different ones"
            )
        return self.pair

    def find_unreadable_sources(self) -> list[str]:
        """List the sources that cannot be read from the language models.

        Activations that were made elsewhere may not say which model and hookpoint they are from.
        """
        lms = self.pair.lms if self.pair else {}
        return [
            source.name
            for source in self.crosscoder.sources
            if source.lm not in lms or not source.hookpoint
        ]

    # --- other crosscoders ---

    def require_recipe(self) -> Recipe:
        """Return the recipe by which the crosscoder was trained.

        Raises:
            NotApplicable: The recipe is unknown.
        """
        if self.load_recipe is None:
            raise NotApplicable(
                "the recipe of this crosscoder is unknown, so that no other one can be trained "
                "by it"
            )
        return self.load_recipe()

    # --- the activations ---

    def open_stores(self) -> tuple[Store, Store, Store]:
        """Open the stores of the training, of the validation (threshold fit), and the held-out one.

        Raises:
            NotApplicable: The activations that the crosscoder was trained on are gone or unknown.
        """
        provenance = self.crosscoder.provenance
        train = provenance.get("train", "")
        if train is None:
            raise NotApplicable(
                "the crosscoder was trained on a stream of activations, which was not kept: "
                "no other crosscoder can be trained on it"
            )
        run = Run(self.folder or Path())
        folder = find_store(run, train) if train else None
        if folder is None or not folder.is_dir():
            where = f"not at {folder}" if folder else "not known"
            raise NotApplicable(
                f"the activations that the crosscoder was trained on are {where}: "
                "no other crosscoder can be trained on them"
            )
        validation = provenance.get("validation")
        validation_folder = find_store(run, validation) if validation else folder
        return Store(folder), Store(validation_folder), self.heldout
