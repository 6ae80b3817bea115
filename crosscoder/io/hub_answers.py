"""Limits on the hub's answers: their duration, their size, and the paths that they name.

huggingface_hub does not check what it gets. But a proxy, a network's log-in page or a broken server
may answer in the hub's place.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator
from typing_extensions import TypedDict

from crosscoder.errors import UserError
from crosscoder.io.schema import parse_json

MAX_ANSWER = 100 * 2**20  # bytes of an answer of the API
MIN_PROGRESS = 1000  # bytes of a file per HF_HUB_DOWNLOAD_TIMEOUT
MAX_PAUSE = 60  # seconds that the hub may ask to wait before the next request
COMMIT = re.compile("[0-9a-f]{40}")
INFO = re.compile(r"/api/\w+/[^/]+/[^/]+(/revision/.+)?")
LISTING = re.compile(r"/api/\w+/[^/]+/[^/]+/(tree|paths-info)/.*")


def _require_commit(sha: str) -> str:
    if not COMMIT.fullmatch(sha):
        raise ValueError("a commit has 40 hexadecimal digits")
    return sha


def _require_inside(path: str) -> str:
    if not path.isprintable() or path.startswith("/") or ".." in re.split(r"[/\\]", path):
        raise ValueError("a path stays inside its repository")
    return path


class Info(TypedDict):
    """Fields of a repository that are read here."""

    sha: NotRequired[Annotated[str, AfterValidator(_require_commit)]]


class Entry(TypedDict):
    """Fields of a repository's file or folder that are read here."""

    type: str
    path: Annotated[str, AfterValidator(_require_inside)]


def limit_requests() -> None:
    """Make huggingface_hub's future clients respect the limits of this module."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    make = _http._GLOBAL_CLIENT_FACTORY  # perhaps the user's own, with a proxy
    if getattr(make, "is_limited", False):
        return

    def make_limited() -> Any:
        client = make()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], limit_waiting],
            "response": [*hooks["response"], limit_answer],
        }
        return client

    make_limited.is_limited = True  # type: ignore[attr-defined]
    set_client_factory(make_limited)


def limit_waiting(request: Any) -> None:
    """Give every phase of a request a timeout, which some of huggingface_hub's requests lack."""
    timeouts = dict(request.extensions.get("timeout", {}))
    for phase in ("connect", "read", "write", "pool"):
        timeouts[phase] = timeouts.get(phase) or _timeout()
    request.extensions["timeout"] = timeouts


def limit_answer(response: Any) -> None:
    """Read an answer of the API within limits and check it; limit only the speed of a file."""
    pause = response.headers.get("retry-after", "")
    if not pause.isascii() or not pause.isdigit() or int(pause[:6]) > MAX_PAUSE:
        response.headers.pop("retry-after", None)
    response.headers.pop("ratelimit", None)  # repeats retry-after in another form
    path = response.request.url.path
    if "/api/" not in path:
        response.iter_raw = _require_speed(response.iter_raw)
        return
    response.iter_raw = _limit_reading(response.iter_raw, path)
    response.iter_bytes = _limit_reading(response.iter_bytes, path)  # larger than raw if compressed
    response.read()
    if response.status_code == 200:
        where = _describe(path)
        if INFO.fullmatch(path):
            parse_json(response.content, Info, where)
        elif LISTING.fullmatch(path):
            parse_json(response.content, list[Entry], where)


def _describe(path: str) -> str:
    return f"the hub's answer ({path[:100]})"


def _timeout() -> float:
    from huggingface_hub import constants

    return constants.HF_HUB_DOWNLOAD_TIMEOUT


def _limit_reading(
    read: Callable[..., Iterator[bytes]], path: str
) -> Callable[..., Iterator[bytes]]:
    """Limit an answer's size and total time, since each byte alone may be in time."""

    def read_limited(*args: Any, **options: Any) -> Iterator[bytes]:
        end = time.monotonic() + 3 * _timeout()
        n_bytes = 0
        for chunk in read(*args, **options):
            n_bytes += len(chunk)
            if n_bytes > MAX_ANSWER:
                raise UserError(f"{_describe(path)} is larger than {MAX_ANSWER:,} bytes")
            if time.monotonic() > end:
                raise TimeoutError(f"{_describe(path)} does not end")
            yield chunk

    return read_limited


def _require_speed(read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    """Give up a file that arrives too slowly."""

    def read_limited(*args: Any, **options: Any) -> Iterator[bytes]:
        since = time.monotonic()
        n_bytes = 0
        for chunk in read(*args, **options):
            n_bytes += len(chunk)
            yield chunk
            now = time.monotonic()
            if now - since > _timeout():
                if n_bytes < MIN_PROGRESS:
                    raise TimeoutError(f"the hub sends {n_bytes} bytes in {_timeout()} s")
                since = now
                n_bytes = 0

    return read_limited
