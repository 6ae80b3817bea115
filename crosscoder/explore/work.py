"""Requests that are work of the models: what the page sends, and the events that come back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crosscoder.explore.compare import compare_readings
from crosscoder.explore.generate import Request, generate, tabulate_next_tokens
from crosscoder.explore.jobs import Job
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.read_prompt import describe_reading, read_prompt
from crosscoder.explore.session import Session


@dataclass(frozen=True)
class ReadRequest:
    """Prompt to read."""

    prompt: Prompt


@dataclass(frozen=True)
class CompareRequest:
    """Two prompts to compare."""

    first: Prompt
    second: Prompt


@dataclass(frozen=True)
class NextTokensRequest:
    """Token after which the next tokens are looked at.

    Args:
        request: Prompt and edits.
        answer: Tokens after the prompt.
        position: Number of the token, counted from the prompt's first.
        written: Token that follows in the answer, if any.
    """

    request: Request
    answer: list[int]
    position: int
    written: int | None = None


def read(session: Session, request: ReadRequest, job: Job) -> None:
    """Read one prompt."""
    reading = read_prompt(session, request.prompt, job.check)
    job.emit("reading", **describe_reading(session, reading))


def compare(session: Session, request: CompareRequest, job: Job) -> None:
    """Read two prompts and compare their latents."""
    readings = []
    for place, prompt in (("first", request.first), ("second", request.second)):
        readings.append(read_prompt(session, prompt, job.check))
        job.emit("reading", place=place, **describe_reading(session, readings[-1]))
    job.emit("comparison", rows=compare_readings(session.crosscoder, *readings))


def list_next_tokens(session: Session, request: NextTokensRequest, job: Job) -> None:
    """List the most probable next tokens at one token."""
    rows = tabulate_next_tokens(
        session, request.request, request.answer, request.position, job, request.written
    )
    job.emit("next_tokens", position=request.position, rows=rows)


# path: schema of the request, and the work
WORK: dict[str, tuple[type, Callable[[Session, Any, Job], None]]] = {
    "read": (ReadRequest, read),
    "compare": (CompareRequest, compare),
    "generate": (Request, generate),
    "next_tokens": (NextTokensRequest, list_next_tokens),
}
