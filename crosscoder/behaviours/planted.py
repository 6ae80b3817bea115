"""What the recipe of an organism planted, as data against which methods are scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from crosscoder.errors import UserError


@dataclass(frozen=True)
class Planted:
    """What a finetuning was made to add.

    The prompts that trigger it, and those that do not, are the two framings of the behaviour.

    Args:
        description: One or two sentences on what the model does when, for the report.
        vocabulary: Words that the finetuned model writes because of the recipe. Empty if nothing
            was planted.
    """

    description: str
    vocabulary: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.description, str) or not self.description.strip():
            raise UserError(
                f"behaviour.planted.description: expected text, found {self.description!r}"
            )
        if isinstance(self.vocabulary, str):
            raise UserError(
                f"behaviour.planted.vocabulary: expected a list of words, found {self.vocabulary!r}"
            )
