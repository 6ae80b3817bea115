"""Compare the sources that a store holds with those that a crosscoder expects."""

from crosscoder.core.sources import Sources
from crosscoder.errors import UserError


def require_sources(held: Sources, expected: Sources) -> None:
    """Refuse sources that are missing, or have another width or hookpoint.

    A difference such as `chat-base` is held if both of its sources are. Hookpoints are compared
    only if both sides name one: stores and crosscoders from elsewhere may not.

    Raises:
        UserError: With both descriptions.
    """
    for source in expected:
        is_held = source.name in held.names or held.parse_difference(source.name) is not None
        if not is_held or held[source.name].width != source.width:
            raise UserError(
                f"store has sources {held.describe()}, "
                f"but the crosscoder expects {expected.describe()}"
            )
    for source in expected:
        hookpoint = held[source.name].hookpoint
        if hookpoint and source.hookpoint and hookpoint != source.hookpoint:
            raise UserError(
                f"store has {source.name} at {hookpoint}, "
                f"but the crosscoder expects it at {source.hookpoint}"
            )
