"""Change a chat that a template refuses, in the ways that are usual for training data.

Many templates require user and assistant in turn, beginning with the user, and some accept no
system message (Gemma 2). Data sets have other chats. These changes are made, in this order, until
the template accepts the chat:

1. messages of the assistant before any user message are dropped, and successive messages of one
   role are joined by a blank line;
2. system messages become user messages, and therefore stand before the user's message that follows.
"""

from collections.abc import Iterator, Sequence

from crosscoder.lm.chat.document import Document, Message
from crosscoder.lm.chat.messages import BLANK_LINE

JOINED_ROLES = ("system", "user", "assistant")


def suggest_chats(document: Document) -> Iterator[list[Message]]:
    """Yield replacements of a refused chat, the least changed first.

    There are none for text, and for a chat without user messages.
    """
    if isinstance(document, str) or not any(message["role"] == "user" for message in document):
        return
    from_user = _drop_early_answers(document)
    without_system = []
    for message in from_user:
        role = "user" if message["role"] == "system" else message["role"]
        without_system.append({**message, "role": role})
    tried = list(document)
    for messages in (from_user, without_system):
        changed = _join_turns(messages)
        if changed != tried:
            yield changed
            tried = changed


def _drop_early_answers(messages: Sequence[Message]) -> list[Message]:
    """Drop the assistant's messages before the first user message."""
    kept: list[Message] = []
    has_user = False
    for message in messages:
        has_user = has_user or message["role"] == "user"
        if has_user or message["role"] != "assistant":
            kept.append(message)
    return kept


def _join_turns(messages: Sequence[Message]) -> list[Message]:
    """Join successive messages of one role."""
    joined: list[Message] = []
    for message in messages:
        role = message["role"]
        if not joined or joined[-1]["role"] != role or role not in JOINED_ROLES:
            joined.append(dict(message))
            continue
        texts = [joined[-1]["content"], message["content"]]
        joined[-1]["content"] = BLANK_LINE.join(text for text in texts if text.strip())
    return joined
