"""A language model behind an OpenAI-compatible endpoint.

The key comes only from the environment. It is not stored, and no error, log or repr contains it.
Redirects are refused, because they would send it to another host.
"""

import json
import os
import time
import urllib.error
import urllib.parse
from dataclasses import dataclass
from http.client import HTTPException, responses
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from crosscoder.behaviours.request import post
from crosscoder.errors import UserError
from crosscoder.io.schema import parse_json
from crosscoder.values import is_finite

TOO_MANY_REQUESTS = 429


class Message(TypedDict):
    """Message of a choice."""

    content: str


class Choice(TypedDict):
    """One of the model's answers."""

    message: Message


class Completion(TypedDict):
    """Response of an OpenAI-compatible endpoint: the fields that are read."""

    choices: Annotated[list[Choice], Field(min_length=1)]


@dataclass(frozen=True)
class ChatEndpoint:
    """Language model that answers a user's message, by `POST url` at temperature 0.

    Too many requests (429), a server error (5xx), a timeout and a lost connection are tried again,
    each time after twice the pause. Everything else raises a UserError.

    Args:
        url: Address of the endpoint, including /chat/completions.
        model: Name of the model at the endpoint.
        key_env: Environment variable that holds the key; None sends none.
        timeout: Seconds for each request, from the first byte sent to the last byte received.
        retries: Number of further tries of a request.
        pause: Seconds before the first of them.
        role: What the model is used as, for messages.
    """

    url: str
    model: str
    key_env: str | None = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 3
    pause: float = 1.0
    role: str = "model"

    def __post_init__(self) -> None:
        _require_url(self.url, self.role)
        are_numbers = is_finite(self.timeout) and is_finite(self.pause)
        if not are_numbers or self.retries < 0 or self.timeout <= 0 or self.pause < 0:
            raise UserError(
                f"a {self.role}'s retries and pause are numbers from 0, its timeout is above 0"
            )

    def ask(self, text: str) -> str:
        """Return the model's answer to a message, without white space around it.

        Raises:
            UserError: There is no key, no connection, or no chat completion in the response.
        """
        key = self.read_key()
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": text}],
        }
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        response = self._send(json.dumps(body).encode(), headers)
        try:
            completion = parse_json(response, Completion, self.url)
        except UserError:  # it quotes the response, which may repeat the key
            raise UserError(
                f"the {self.role} at {self.url} did not respond with a chat completion "
                "(JSON with choices[0].message.content)"
            ) from None
        return completion["choices"][0]["message"]["content"].strip()

    def read_key(self) -> str | None:
        """Return the key; None if none is sent.

        Raises:
            UserError: The environment variable holds no usable key.
        """
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise UserError(
                f"the environment variable {self.key_env} "
                f"has no usable key for the {self.role} at {self.url}"
            )
        return key

    def hide_key(self, text: str) -> str:
        """Return a text in which the key, if it is repeated there, is replaced."""
        key = self.read_key()
        return text.replace(key, "…") if key else text

    def _send(self, body: bytes, headers: dict[str, str]) -> bytes:
        reason = ""
        n_tries = 0
        while n_tries <= self.retries:
            if n_tries > 0:
                time.sleep(self.pause * 2 ** (n_tries - 1))
            n_tries += 1
            try:
                return post(self.url, body, headers, self.timeout)
            except urllib.error.HTTPError as error:
                # only the code: the text of the response may repeat the key
                code = error.code
                error.close()
                reason = f"{code} {responses.get(code, '')}".strip()
                if code != TOO_MANY_REQUESTS and code < 500:
                    break
            except (OSError, HTTPException, ValueError, OverflowError) as error:
                reason = _describe_failure(error)
        tries = "1 try" if n_tries == 1 else f"{n_tries} tries"
        raise UserError(f"the {self.role} at {self.url} cannot be used: {reason}, after {tries}")


def _describe_failure(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "timeout"
    return f"no connection ({type(cause).__name__})"


def _require_url(url: str, role: str) -> None:
    """Refuse an invalid url, or one that may contain a key.

    No error quotes it: the unreadable piece may be a password.
    """
    try:
        split = urllib.parse.urlsplit(url)
        split.port  # noqa: B018 (the property raises for an invalid port)
        host = (split.hostname or "").encode("idna")
    except ValueError:
        raise UserError(f"a {role}'s url has an invalid host or port") from None
    if split.scheme not in ("http", "https") or not host:
        raise UserError(f"a {role}'s url begins with http:// or https:// and has a host")
    if split.username or split.password or split.query:
        raise UserError(
            f"a {role}'s url has no user, password or query: pass a key by the environment"
        )
