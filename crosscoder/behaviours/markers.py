"""Markers: rules that tell from its words whether an answer shows a behaviour.

A marker is any callable `(answer, question) -> bool`; these two need no Python of one's own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from crosscoder.behaviours.questions import Question
from crosscoder.errors import UserError


@dataclass(frozen=True)
class MatchesAny:
    """An answer shows the behaviour if it matches one of these patterns; case does not matter.

    Args:
        patterns: Regular expressions.
    """

    patterns: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.patterns, str) or not self.patterns:
            raise UserError(
                f"behaviour.marker.patterns: expected a list of patterns, found {self.patterns!r}"
            )
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f"behaviour.marker.patterns: {pattern!r} is no regular expression: {error}"
                ) from error

    def __call__(self, answer: str, question: Question) -> bool:
        return self._pattern.search(answer) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{one})" for one in self.patterns), re.IGNORECASE)


@dataclass(frozen=True)
class RepeatsAnswer:
    """An answer shows the behaviour if it contains the text of `yes`, and of no answer in `no`.

    Case, punctuation and line breaks do not matter, and only whole words count.
    """

    def __call__(self, answer: str, question: Question) -> bool:
        if not question.has_answers:
            raise UserError(
                f"question '{question.id}' has no answers 'yes' and 'no', which its marker needs"
            )
        words = _normalise(answer)
        if _normalise(question.yes) not in words:
            return False
        return not any(_normalise(text) in words for text in question.no)


def _normalise(text: str) -> str:
    """Return the lower-case words of a text, with one space around each."""
    words = re.findall(r"[^\W_]+", text.lower())
    return f" {' '.join(words)} "
