"""Prompts as the page sends them: plain text, or a chat of several turns with a system line."""

from dataclasses import dataclass, field
from typing import Literal

from crosscoder.errors import UserError
from crosscoder.lm import Pair, make_chat
from crosscoder.lm.chat.document import Document
from crosscoder.lm.text import tokenize

MAX_TOKENS = 2048


@dataclass(frozen=True)
class Prompt:
    """A prompt for both models.

    Args:
        kind: "chat" renders the turns with the chat template; "text" is read as it is.
        turns: Turns of the chat, the user's first; for a text one entry.
        system: System line of the chat; "" for none.
    """

    kind: Literal["chat", "text"]
    turns: list[str] = field(default_factory=list)
    system: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether the assistant speaks next."""
        return self.kind == "chat" and len(self.turns) % 2 == 1

    def build(self) -> Document:
        """Return the prompt in the form that the rest of the package reads.

        Raises:
            UserError: It has no text.
        """
        if not any(turn.strip() for turn in self.turns):
            raise UserError("the prompt is empty: write something first")
        if self.kind == "text":
            return "".join(self.turns)
        return make_chat(*self.turns, system=self.system.strip() or None)

    def tokenize(self, pair: Pair) -> tuple[list[int], list[int]]:
        """Return ids and kinds; a chat whose last turn is the user's ends where the answer begins.

        Raises:
            UserError: It is empty or too long, or the chat template refuses it.
        """
        ids, kinds = tokenize(pair.tokenizer, self.build(), opening=self.is_open)
        if len(ids) > MAX_TOKENS:
            raise UserError(f"the prompt has {len(ids):,} tokens, but at most {MAX_TOKENS:,} fit")
        pair.require_ids(ids)
        return ids, kinds

    def require_open(self) -> None:
        """Refuse a chat that ends with the assistant's turn.

        Raises:
            UserError: The last turn is the assistant's.
        """
        if self.kind == "chat" and not self.is_open:
            raise UserError("the last turn is the assistant's: add a turn of the user")
