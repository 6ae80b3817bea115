"""Download selected files of a hub repository, with retries and errors of one sentence."""

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from http.client import responses
from pathlib import Path
from typing import Any, TypeVar

from crosscoder.errors import WRITE_ERRORS, UserError, first_line, walk_causes
from crosscoder.io.hub_answers import limit_requests
from crosscoder.terminal.escapes import escape_controls

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
WAITS = (1.0, 2.0, 4.0)  # seconds before the hub is asked again
TOO_MANY = 429
MAX_MESSAGE_LENGTH = 200  # characters of a message of a library or a server
HINT = "a proxy or a log-in page may stand in between"
# raised by libraries that do not check an answer
PARSING_ERRORS = (
    json.JSONDecodeError,
    UnicodeDecodeError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RecursionError,
)
# raised by httpx for answers that it cannot follow
ANSWER_ERRORS = {"DecodingError", "TooManyRedirects", "InvalidURL"}
# names of the classes in Python, requests and httpx
CONNECTION_ERRORS = {"TimeoutError", "Timeout", "ConnectionError", "TransportError"}


def download_snapshot(
    repo: str, patterns: Sequence[str], revision: str | None = None, kind: str = "model"
) -> Path:
    """Download the matching files of a repository, and return the local folder that mirrors it.

    Files that are in the cache already are not downloaded again.

    Args:
        repo: Id of the repository, owner/name.
        patterns: Patterns of the files' paths.
        revision: Branch, tag or commit. None: the main branch.
        kind: "model" or "dataset".

    Raises:
        UserError: The repository or revision does not exist, the user has no access, or the hub
            cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from crosscoder.io.download_lines import DownloadLines

    def download(is_offline: bool = False) -> Path:
        options: dict[str, Any] = {
            "repo_type": kind,
            "revision": revision,
            "allow_patterns": list(patterns),
        }
        if not sys.stderr.isatty():  # huggingface_hub's own bars are silent then
            options["tqdm_class"] = DownloadLines
        return Path(snapshot_download(repo, local_files_only=is_offline, **options))

    try:
        return retry(download, repo)
    except GatedRepoError as error:
        raise UserError(
            f"'{repo}' is gated: accept its terms on the hub and log in (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"'{repo}' has no revision '{revision}'") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"'{repo}' is neither a local folder nor on the hub") from error
    except Exception as error:  # anything that a broken connection or a proxy can cause
        if _is_disk_error(error):
            raise
        reason = explain(error)
        try:
            folder = download(is_offline=True)
        except Exception:
            raise UserError(
                f"cannot get '{repo}': not a local folder, not in the hub cache, and {reason}"
            ) from error
        log.warning("using %s from the hub cache, since %s", repo, reason)
        return folder


def retry(request: Callable[[], Answer], name: str) -> Answer:
    """Return the result of a request to the hub; repeat a request that failed for a while.

    Args:
        request: Function that asks the hub.
        name: What is asked for, for the log.
    """
    limit_requests()
    for wait in WAITS:
        try:
            return request()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("%s: %s; asked again in %g s", name, _clean_message(error), wait)
        time.sleep(wait)
    return request()


def is_transient(error: BaseException) -> bool:
    """Return whether an error may be gone soon: a timeout, too many requests, a server's error."""
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        return False
    status = _find_status(error)
    if status is None:
        return _is_connection_error(error)
    return status == TOO_MANY or status >= 500


def explain(error: BaseException) -> str:
    """Return a short reason why a request to the hub failed.

    Text of a server is cut, and its control characters are escaped.
    """
    for cause in walk_causes(error):
        if isinstance(cause, UserError):
            return f"{cause}; {HINT}"
    reason = _clean_message(error)
    status = _find_status(error)
    if status is not None:
        answer = f"{status} {responses.get(status, '')}".strip()
        if is_transient(error):
            return f"the hub is out of reach ({answer})"
        return f"the hub answers {answer}"
    if _is_connection_error(error):
        return f"the hub is out of reach ({reason})"
    reason = f"{type(error).__name__}: {reason}"
    if isinstance(error, PARSING_ERRORS) or type(error).__name__ in ANSWER_ERRORS:
        return f"the hub's answer makes no sense ({reason}); {HINT}"
    return reason


def _clean_message(error: BaseException) -> str:
    """Return an error's message, cut and without controls, since a server may have written it."""
    return escape_controls(first_line(error))[:MAX_MESSAGE_LENGTH]


def _find_status(error: BaseException) -> int | None:
    """Return the HTTP status that caused an error; None if there is none."""
    for cause in walk_causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            return status
    return None


def _is_connection_error(error: BaseException) -> bool:
    """Return whether an error comes from a connection that was slow, lost or never made."""
    names: set[str] = set()
    for cause in walk_causes(error):
        names |= {kind.__name__ for kind in type(cause).__mro__}
    return not names.isdisjoint(CONNECTION_ERRORS)


def _is_disk_error(error: BaseException) -> bool:
    numbers = {cause.errno for cause in walk_causes(error) if isinstance(cause, OSError)}
    return not _is_connection_error(error) and not numbers.isdisjoint(WRITE_ERRORS)
