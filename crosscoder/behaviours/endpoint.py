"""Judge behind an OpenAI-compatible endpoint.

The key comes only from the environment. It is not stored, and no error, log or repr contains it.
Redirects are refused, because they would send it to another host.
"""

import json
import os
import re
import time
import urllib.error
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, responses
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from crosscoder.behaviours.request import post
from crosscoder.behaviours.rubric import build_judge_prompts
from crosscoder.errors import UserError
from crosscoder.io.schema import parse_json
from crosscoder.lm.text import Document
from crosscoder.values import is_finite

QUESTION = (
    "How much is it so? Reply with one number from 0 (not at all) to 10 (fully), and nothing else."
)
NUMBER = re.compile(r"([0-9]{1,2}(?:\.[0-9]+)?)(?: ?/ ?10)?\.?")
SCORES_OF_WORDS = {"yes": 1.0, "no": 0.0}
TOO_MANY_REQUESTS = 429


class Message(TypedDict):
    """Message of a choice."""

    content: str


class Choice(TypedDict):
    """One of a judge's answers."""

    message: Message


class Completion(TypedDict):
    """Response of an OpenAI-compatible endpoint: the fields that are read."""

    choices: Annotated[list[Choice], Field(min_length=1)]


@dataclass(frozen=True)
class EndpointJudge:
    """Judge that is asked by `POST url` for a number from 0 to 10, or yes or no.

    Answers are judged one after the other, at temperature 0. Too many requests (429), a server
    error (5xx), a timeout and a lost connection are tried again, each time after twice the pause.
    Everything else raises a UserError, including a reply that is neither a number nor yes or no.

    Args:
        url: Address of the endpoint, including /chat/completions.
        model: Name of the model at the endpoint.
        rubric: Description of the behaviour.
        key_env: Environment variable that holds the key; None sends none.
        timeout: Seconds for each request, from the first byte sent to the last byte received.
        retries: Number of further tries of a request.
        pause: Seconds before the first of them.
    """

    url: str
    model: str
    rubric: str
    key_env: str | None = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        _require_url(self.url)
        are_numbers = is_finite(self.timeout) and is_finite(self.pause)
        if not are_numbers or self.retries < 0 or self.timeout <= 0 or self.pause < 0:
            raise UserError(
                "a judge's retries and pause are numbers from 0, its timeout is above 0"
            )

    def __call__(self, prompts: Sequence[Document], answers: Sequence[str]) -> list[float]:
        key = self._read_key()
        scores = []
        for text in build_judge_prompts(self.rubric, prompts, answers):
            scores.append(self._score(f"{text}\n\n{QUESTION}", key))
        return scores

    def _read_key(self) -> str | None:
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise UserError(
                f"the environment variable {self.key_env} "
                f"has no usable key for the judge at {self.url}"
            )
        return key

    def _score(self, text: str, key: str | None) -> float:
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
                f"the judge at {self.url} did not respond with a chat completion "
                "(JSON with choices[0].message.content)"
            ) from None
        reply = completion["choices"][0]["message"]["content"].strip()
        score = _parse_score(reply)
        if score is None or score > 1:
            shown = reply.replace(key, "…") if key else reply
            raise UserError(
                f"the judge's reply is neither a number from 0 to 10 nor yes or no: {shown[:80]!r}"
            )
        return score

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
        raise UserError(f"the judge at {self.url} cannot be used: {reason}, after {tries}")


def _parse_score(reply: str) -> float | None:
    """Return the score of yes, no or a number from 0 to 99 that is divided by 10."""
    word = reply.lower().removesuffix(".")
    if word in SCORES_OF_WORDS:
        return SCORES_OF_WORDS[word]
    number = NUMBER.fullmatch(reply)
    return float(number[1]) / 10 if number else None


def _describe_failure(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "timeout"
    return f"no connection ({type(cause).__name__})"


def _require_url(url: str) -> None:
    """Refuse an invalid url, or one that may contain a key.

    No error quotes it: the unreadable piece may be a password.
    """
    try:
        split = urllib.parse.urlsplit(url)
        split.port  # noqa: B018 (the property raises for an invalid port)
        host = (split.hostname or "").encode("idna")
    except ValueError:
        raise UserError("a judge's url has an invalid host or port") from None
    if split.scheme not in ("http", "https") or not host:
        raise UserError("a judge's url begins with http:// or https:// and has a host")
    if split.username or split.password or split.query:
        raise UserError(
            "a judge's url has no user, password or query: pass a key by the environment"
        )
