"""The dictionary that another is compared with: loaded from anywhere, or trained here on one source; and activations for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosscoder.data import Harvest, Store
from crosscoder.data.tokens import head
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.base import Subject
from crosscoder.evals.beside import trained_beside
from crosscoder.formats import load
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources


@dataclass(frozen=True)
class Reference:
    """Where the other dictionary comes from.

    Args:
        spec: as `crosscoder.load` takes it; None: an SAE of the contrast's second source (base) alone, trained beside the
            crosscoder, of the same size and by the same recipe.
        reads: the reference's source → the language model of ours that it reads, where their names differ.
        layout, input_scale: see `crosscoder.load`.
        train_tokens: of one that is trained; None: as many as the crosscoder.
    """

    spec: str | None = None
    reads: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    input_scale: float | Mapping[str, float] | None = None
    train_tokens: int | None = None

    def __call__(self, subject: Subject) -> Crosscoder:
        """The reference, its sources named after the streams of ours that they are."""
        if self.spec is not None:
            reference = load(self.spec, layout=self.layout, input_scale=self.input_scale)
            return reference.but(sources=self._placed(reference.sources, subject.crosscoder.sources))
        sources = subject.crosscoder.sources
        if not sources.contrast:
            raise NotApplicable(
                "compare trains a dictionary of the base alone; without a contrast give one with reference="
            )
        alone = sources.subset([sources.contrast[1]])
        name = f"{alone.names[0]}_alone"
        return trained_beside(subject, subject.stores(), name, subject.seed, alone, train_tokens=self.train_tokens)

    def _placed(self, theirs: Sources, ours: Sources) -> Sources:
        """Their sources as streams of our language models."""
        if unknown := set(self.reads) - set(theirs.names):
            raise UserError(f"the reference has sources {', '.join(theirs.names)}, not {', '.join(sorted(unknown))}")
        lms = dict.fromkeys(source.lm for source in ours)
        placed = []
        for source in theirs:
            lm = self.reads.get(source.name, source.lm)
            if lm not in lms:
                raise UserError(
                    f"the reference reads '{source.name}'; which of ours is that? "
                    f"eval.compare.reference.reads={{{source.name}: {'|'.join(lms)}}}"
                )
            same = [one for one in ours if one.lm == lm and source.hookpoint in ("", one.hookpoint)]
            same.sort(key=lambda one: one.name != source.name)  # worlds without language models know names only
            if same and same[0].width != source.width:
                mine = f"{same[0].hookpoint} of {lm} has width {same[0].width}"
                raise UserError(f"the reference reads {lm} with width {source.width}, but {mine}")
            # where it does not say at which hookpoint, it is taken to be ours
            placed.append(same[0] if same else Source(f"{lm}.{source.hookpoint}", source.width, lm, source.hookpoint))
        if not set(placed) & set(ours):
            raise UserError(
                f"the reference reads {', '.join(f'{s.lm} at {s.hookpoint}' for s in placed)}, this crosscoder "
                f"{', '.join(f'{s.lm} at {s.hookpoint}' for s in ours)}: there is nothing to compare"
            )
        return Sources(tuple(placed))


def streams(subject: Subject, reference: Crosscoder, stores: Mapping[str, tuple[Store, int]]) -> dict[str, Store]:
    """Stores with the reference's sources for the first tokens of some stores; harvested where ours lack a hookpoint.

    Args:
        subject: whose pair is harvested.
        reference: what reads them.
        stores: by name, each with how many of its first tokens are needed.
    """
    if all(set(reference.sources.names) <= set(store.sources.names) for store, _ in stores.values()):
        return {name: store for name, (store, _) in stores.items()}
    if subject.pair is None:
        raise NotApplicable(
            f"{reference.sources.describe()} are not all in the store, and there are no language models to read"
        )
    first = next(iter(stores.values()))[0]
    harvest = Harvest(first.folder.parent, shard_tokens=first.counts[0])
    return harvest(subject.pair, reference.sources, {name: head(store, n) for name, (store, n) in stores.items()})
