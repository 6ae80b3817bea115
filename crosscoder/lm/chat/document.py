"""Documents: text, or a chat. messages.py refuses everything else that data sets contain."""

from collections.abc import Sequence
from typing import TypeAlias

from crosscoder.errors import UserError

Message: TypeAlias = dict[str, str]
Document: TypeAlias = str | Sequence[Message]

# a longer document would fill the memory while it is tokenised
MAX_CHARACTERS = 2**24


class Unusable(UserError):
    """Raised where one document cannot be used.

    Data that are read row by row leave out such documents and count them.
    """


class Refused(Unusable):
    """Raised where a chat template refuses a chat, e.g. because its roles do not alternate."""


def require_text(text: str, what: str) -> None:
    """Refuse text that cannot be written as UTF-8 or is too long for one document.

    Args:
        text: The text.
        what: Name of the text in errors.

    Raises:
        Unusable: The text is too long, or contains half of a surrogate pair.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unusable(
            f"{what} has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read "
            "as one document: write it as several rows"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable(
            f"{what} has half of a surrogate pair at character {error.start}, which is not text"
        ) from error
