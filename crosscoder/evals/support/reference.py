"""The dictionary that a crosscoder is compared with, and activations for it.

It is loaded from anywhere, or trained here on one source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.data import Harvest, Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.kept import is_kept
from crosscoder.formats import load
from crosscoder.values import require_types


@dataclass(frozen=True)
class Reference:
    """Origin of the other dictionary.

    Args:
        spec: Name of the dictionary, as `crosscoder.load` takes it. None: an SAE of the base model
            alone, trained here, of the crosscoder's size and by its recipe.
        reads: For each source of the reference, the language model of ours that it reads, where
            the names differ.
        layout: Layout of the weights, see `crosscoder.load`.
        input_scale: Scale of the activations that it was trained on, see `crosscoder.load`.
        train_tokens: Tokens to train on, for one that is trained here; None: as many as the
            crosscoder.
    """

    spec: str | None = None
    reads: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    input_scale: float | Mapping[str, float] | None = None
    train_tokens: int | None = None

    def __post_init__(self) -> None:
        require_types("reference", self)

    def load(self, context: EvalContext) -> Crosscoder:
        """Load or train the reference; its sources are named as our streams."""
        ours = context.crosscoder.sources
        if self.spec is not None:
            reference = load(self.spec, layout=self.layout, input_scale=self.input_scale)
            named = reference.replace(sources=self._match_sources(reference.sources, ours))
            return named.to(context.crosscoder.W_enc.device)
        if not ours.diff_pair:
            raise NotApplicable(
                "compare trains a dictionary of the base model alone, but no two sources are "
                "compared; name a dictionary with reference="
            )
        alone = ours.subset([ours.diff_pair[1]])
        return train_auxiliary(
            context,
            context.open_stores(),
            _name_alone(ours),
            context.seed,
            alone,
            train_tokens=self.train_tokens,
        )

    def must_train(self, context: EvalContext) -> bool:
        """Return whether the reference is trained here, and was not trained before."""
        ours = context.crosscoder.sources
        if self.spec is not None or not ours.diff_pair:
            return False
        name = _name_alone(ours)
        return not is_kept(context, name, context.seed, train_tokens=self.train_tokens)

    def _match_sources(self, theirs: Sources, ours: Sources) -> Sources:
        """Name their sources as streams of our language models.

        Raises:
            UserError: A source is of an unknown model, of another width, or none is one of ours.
        """
        if unknown := set(self.reads) - set(theirs.names):
            raise UserError(
                f"the reference has sources {', '.join(theirs.names)}, "
                f"not {', '.join(sorted(unknown))}"
            )
        matches = [self._match_source(source, ours) for source in theirs]
        if not set(matches) & set(ours):
            raise UserError(
                f"the reference reads {_describe_streams(matches)}, this crosscoder "
                f"{_describe_streams(ours.items)}: there is nothing to compare"
            )
        return Sources(tuple(matches))

    def _match_source(self, source: Source, ours: Sources) -> Source:
        lms = dict.fromkeys(one.lm for one in ours)
        lm = self.reads.get(source.name, source.lm)
        if lm not in lms:
            raise UserError(
                f"the reference reads '{source.name}'; which of ours is that? "
                f"'++eval.compare.reference.reads={{{source.name}: {'|'.join(lms)}}}'"
            )
        # a reference that does not name its hookpoint is assumed to read ours
        same = [one for one in ours if one.lm == lm and source.hookpoint in ("", one.hookpoint)]
        # worlds without language models have names only: the same name comes first
        same.sort(key=lambda one: one.name != source.name)
        if not same:
            return Source(f"{lm}.{source.hookpoint}", source.width, lm, source.hookpoint)
        if same[0].width != source.width:
            raise UserError(
                f"the reference reads {lm} with width {source.width}, "
                f"but {same[0].hookpoint} of {lm} has width {same[0].width}"
            )
        return same[0]


def _name_alone(sources: Sources) -> str:
    """Return the name of a dictionary of the base model alone."""
    assert sources.diff_pair
    return f"{sources.diff_pair[1]}_alone"


def _describe_streams(sources: tuple[Source, ...] | list[Source]) -> str:
    return ", ".join(f"{source.lm} at {source.hookpoint}" for source in sources)


def open_reference_stores(
    context: EvalContext, reference: Crosscoder, stores: Mapping[str, tuple[Store, int]]
) -> dict[str, Store]:
    """Return stores that have the reference's sources, on the same tokens.

    They are harvested if ours lack a hookpoint.

    Args:
        context: Context of the eval, with the language models.
        reference: The dictionary that reads them.
        stores: Our stores by name, each with the number of its first tokens that are needed.
    """
    names = set(reference.sources.names)
    if all(names <= set(store.sources.names) for store, _ in stores.values()):
        return {name: store for name, (store, _) in stores.items()}
    if context.pair is None:
        raise NotApplicable(
            f"{reference.sources.describe()} are not all in the store, "
            "and there are no language models to read them from"
        )
    first = next(iter(stores.values()))[0]
    harvest = Harvest(first.folder.parent, shard_tokens=first.counts[0])
    tokens = {name: TokenSet.from_store(store).take(n) for name, (store, n) in stores.items()}
    return harvest.run(context.pair, reference.sources, tokens)
