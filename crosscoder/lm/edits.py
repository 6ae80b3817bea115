"""Open an edit: interventions that act on every forward pass of one model of a pair."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crosscoder.core.intervention import Intervention
from crosscoder.errors import UserError
from crosscoder.lm.editing.lockstep import Lockstep, Mode
from crosscoder.lm.editing.positions import PositionRule, parse_positions
from crosscoder.lm.types import PreTrainedModel
from crosscoder.values import require_choice

if TYPE_CHECKING:
    from crosscoder.lm.pair import Pair


@contextmanager
def open_edit(
    pair: "Pair",
    name: str,
    change: Intervention | Sequence[Intervention],
    mode: Mode,
    positions: str | PositionRule,
) -> Iterator[PreTrainedModel]:
    """Context manager: yield the edited model, and restore it at the end (see `Pair.edit`)."""
    changes = list(change) if isinstance(change, Sequence) else [change]
    _require_same_sources(changes)
    needed: dict[str, None] = {}  # in order, each once
    for one in changes:
        needed |= dict.fromkeys(_list_models(pair, name, one, mode))
    tokenizer = pair.tokenizers[name] if len(needed) == 1 else pair.tokenizer
    rule = positions if callable(positions) else parse_positions(positions, tokenizer)
    with pair.models.edit(name, list(needed)) as models:
        lockstep = Lockstep(models, name, changes, rule, mode, pair.models.clean_passes)
        with lockstep.edit() as model:
            yield model


def _require_same_sources(changes: Sequence[Intervention]) -> None:
    """Refuse interventions of one batch that act on different sources, and no intervention."""
    if not changes:
        raise UserError("an edit needs at least one intervention")
    for change in changes:
        if isinstance(change, Intervention) and change.sources != changes[0].sources:
            raise UserError(
                f"interventions on one batch act on the same sources, but {changes[0]!r} "
                f"and {change!r} do not"
            )


def _list_models(pair: "Pair", name: str, change: Intervention, mode: Mode) -> list[str]:
    """List the models that run in an edit.

    Raises:
        UserError: The edit does not fit the pair.
    """
    if not isinstance(change, Intervention):
        raise UserError(
            f"change is an intervention, e.g. ablate(crosscoder, [3]), not {type(change).__name__}"
        )
    require_choice("mode", mode, ("paired", "solo"))
    read = list(dict.fromkeys(source.lm for source in change.sources))
    if name not in read:
        raise UserError(f"this intervention does not act on '{name}'; it acts on {', '.join(read)}")
    if name in pair.models.edited:
        raise UserError(f"'{name}' is being edited already: leave that edit first")
    needed = [name] if mode == "solo" or change.is_local else read
    for lm in needed:
        if lm not in pair.lms:
            raise UserError(
                f"this intervention reads '{lm}', but the pair has {', '.join(pair.lms)}"
            )
    return needed
