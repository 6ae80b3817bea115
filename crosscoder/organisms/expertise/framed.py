"""The shipped questions as pairs of prompts that differ only in who asks."""

from collections.abc import Iterator
from dataclasses import dataclass

from crosscoder.organisms.expertise.transcripts import Message, message, pairs


@dataclass(frozen=True)
class Framed:
    """Each question of one split in two framings, always in the same order, as chats of one user message each.

    Args:
        split: "train" or "heldout".
        a: framing of a pair's first prompt, one of FRAMINGS.
        b: framing of its second.
    """

    split: str
    a: str = "novice"
    b: str = "expert"

    def __iter__(self) -> Iterator[tuple[list[Message], list[Message]]]:
        for pair in pairs(self.split):
            a, b = (message(pair, framing) for framing in (self.a, self.b))
            yield [{"role": "user", "content": a}], [{"role": "user", "content": b}]

    def __len__(self) -> int:
        return len(pairs(self.split))
