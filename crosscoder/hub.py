"""Files of a repository on the hub: only those asked for by name, and one sentence where they cannot be had."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from crosscoder.errors import UserError, causes, first_line

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
WAITS = (1.0, 2.0, 4.0)  # seconds before the hub is asked again
TOO_MANY = 429
LOST = {"TimeoutError", "Timeout", "ConnectionError", "TransportError"}  # as Python, requests and httpx have them


def snapshot(repo: str, patterns: Sequence[str], revision: str | None = None, kind: str = "model") -> Path:
    """The local folder that mirrors a repository, with the files whose paths match (from the cache where they are there).

    `kind` is "model" or "dataset".

    Raises:
        UserError: no such repository or revision, no access, or the hub is out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def download() -> str:
        return snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=list(patterns))

    try:
        return Path(patiently(download, repo))
    except GatedRepoError as error:
        raise UserError(f"'{repo}' is gated: accept its terms on the hub and log in (hf auth login)") from error
    except RevisionNotFoundError as error:
        raise UserError(f"'{repo}' has no revision '{revision}'") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"'{repo}' is neither a local folder nor on the hub") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"cannot get '{repo}': not a local folder, not in the hub cache, and the hub is out of reach"
        ) from error


def patiently(ask: Callable[[], Answer], what: str) -> Answer:
    """What `ask` gives; asked again, later each time, where the hub is too slow, too busy or cannot be reached."""
    for wait in WAITS:
        try:
            with _limited():
                return ask()
        except Exception as error:
            if not may_pass(error):
                raise
            log.warning("%s: %s; asked again in %g s", what, first_line(error), wait)
        time.sleep(wait)
    with _limited():
        return ask()


@contextmanager
def _limited() -> Iterator[None]:
    """While open, no request to the hub waits for ever, as some of huggingface_hub's do."""
    from huggingface_hub import constants, get_session

    def limit(request: Any) -> None:
        given = request.extensions.get("timeout", {})
        phases = ("connect", "read", "write", "pool")
        request.extensions["timeout"] = {p: given.get(p) or constants.HF_HUB_DOWNLOAD_TIMEOUT for p in phases}

    hooks = get_session().event_hooks["request"]
    hooks.append(limit)
    try:
        yield
    finally:
        hooks.remove(limit)


def may_pass(error: BaseException) -> bool:
    """Whether it may be over in a moment: a timeout, a lost connection, too many requests or a server's error."""
    from huggingface_hub.constants import is_offline_mode

    chain = [] if is_offline_mode() else list(causes(error))
    for cause in chain:
        if (status := getattr(getattr(cause, "response", None), "status_code", None)) is not None:
            return status == TOO_MANY or status >= 500
    return any(LOST & {kind.__name__ for kind in type(cause).__mro__} for cause in chain)
