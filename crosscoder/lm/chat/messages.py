"""Convert documents of data sets; chats become lists of messages with text in `role` and `content`.

    {"role": "user", "content": "Hi"}                    the form that chat templates take
    {"from": "human", "value": "Hi"}                     ShareGPT
    {"role": "user",                                     content parts, whose texts are joined by a
     "content": [{"type": "text", "text": "Hi"}]}        blank line
    {"role": ["user", …], "content": ["Hi", …]}          columns, as in some data sets on the hub

A chat with images or tool calls is refused, because its text makes no sense without them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crosscoder.errors import plain
from crosscoder.lm.chat.document import MAX_CHARACTERS, Document, Message, Unusable, require_text

ROLES = ("user", "assistant")
ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value", "text")
ROLE_ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
TEXT_TYPES = ("text", "input_text", "output_text")
BLANK_LINE = "\n\n"


def as_document(value: Any) -> Document:
    """Return text, or a chat in one of the forms above, as a document.

    Raises:
        Unusable: The value has another form.
    """
    if isinstance(value, str):
        require_text(value, "it")
        return value
    is_sequence = isinstance(value, Sequence | Mapping) and not isinstance(value, bytes | bytearray)
    if not is_sequence or not value:
        found = repr(value)
        if len(found) >= 50:
            found = type(value).__name__
        raise Unusable(f"expected text or a list of messages, found {found}")
    return read_messages(value)


def make_chat(*turns: str, system: str | None = None) -> list[Message]:
    """Return a chat of alternating turns, the user's first, e.g. `make_chat("Why?")`.

    A text alone is raw text wherever prompts are read. This function makes the message of a user.

    Args:
        turns: What the user says, what the assistant answers, what the user says then, and so on.
        system: System message before them.

    Raises:
        Unusable: There is no turn, or one of them is not text.
    """
    if not turns:
        raise Unusable("a chat has at least one turn, e.g. make_chat('Why?')")
    chat: list[Message] = []
    if system is not None:
        chat.append({"role": "system", "content": system})
    for number, turn in enumerate(turns):
        chat.append({"role": ROLES[number % 2], "content": turn})
    return read_messages(chat)


def read_messages(chat: Any) -> list[Message]:
    """Return a chat as messages of `role` and `content`; other keys of messages are dropped.

    Raises:
        Unusable: The chat has no messages, or one of them has no role or no text.
    """
    if isinstance(chat, Mapping):
        chat = _columns_to_rows(chat)
    messages = [_read_message(message, number) for number, message in enumerate(chat, 1)]
    if not any(message["content"].strip() for message in messages):
        raise Unusable(f"all of its {len(messages)} messages are empty")
    if sum(len(message["content"]) for message in messages) > MAX_CHARACTERS:
        raise Unusable(
            f"the chat has more than {MAX_CHARACTERS:,} characters: write it as several rows"
        )
    return messages


def _columns_to_rows(chat: Mapping) -> list[dict[str, Any]]:
    """Convert a chat in columns of equal length to one mapping per message."""
    columns = {key: chat[key] for key in (*ROLE_KEYS, *CONTENT_KEYS) if _is_list(chat.get(key))}
    lengths = {len(column) for column in columns.values()}
    if len(columns) < 2 or len(lengths) != 1:
        raise Unusable(
            f"expected text or a list of messages, found an object with {_list_keys(chat)}"
        )
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _read_message(message: Any, number: int) -> Message:
    if not isinstance(message, Mapping):
        raise Unusable(
            f"expected messages with 'role' and 'content', but message {number} is {message!r:.50}"
        )
    role = _get_value(message, ROLE_KEYS, number)
    if not isinstance(role, str):
        raise Unusable(f"expected text in 'role' of message {number}, which is {role!r:.50}")
    content = _get_value(message, CONTENT_KEYS, number)
    if not content and message.get("tool_calls"):
        raise Unusable(f"message {number} has tool calls and no text")
    if _is_list(content) and content:
        content = _join_parts(content, number)
    if not isinstance(content, str):
        raise Unusable(f"expected text in 'content' of message {number}, which is {content!r:.50}")
    require_text(role, f"the role of message {number}")
    require_text(content, f"message {number}")
    return {"role": ROLE_ALIASES.get(role, role), "content": content}


def _get_value(message: Mapping, keys: Sequence[str], number: int) -> Any:
    """Return the value of the first of these keys that is there and not null."""
    found = [key for key in keys if key in message]
    if not found:
        raise Unusable(
            f"expected text in '{keys[0]}' of message {number}, which is missing; "
            f"it has {_list_keys(message)}"
        )
    for key in found:
        if message[key] is not None:
            return message[key]
    return None


def _join_parts(parts: Sequence[Any], number: int) -> str:
    """Join the texts of a message's content parts."""
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, Mapping):
            raise Unusable(f"message {number} has a part that is {part!r:.50}, and not text")
        kind = part.get("type", "text")
        if kind not in TEXT_TYPES:
            raise Unusable(f"message {number} has a part of type {kind!r:.40}, which is not text")
        if not isinstance(part.get("text"), str):
            raise Unusable(f"message {number} has a part without text")
        texts.append(part["text"])
    return BLANK_LINE.join(texts)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _list_keys(mapping: Mapping) -> str:
    return ", ".join(plain(key, 40) for key in list(mapping)[:12]) or "nothing"
