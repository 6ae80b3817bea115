"""One HTTP request with limits on its total time and on the size of the response.

httpx limits the time of each connection, read and write, not of the whole request, so it would need
the same thread as the standard library does here.
"""

import queue
import threading
import time
import urllib.request
from http.client import IncompleteRead
from typing import Any

MAX_RESPONSE_BYTES = 2**20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_NoRedirect)


def post(url: str, body: bytes, headers: dict[str, str], seconds: float) -> bytes:
    """Send a request and return the response, up to MAX_RESPONSE_BYTES of it.

    Redirects are not followed. The timeout of a socket begins anew with every byte. Therefore the
    request is sent in a thread, which is abandoned when the time is over; a name lookup and the
    reading of headers cannot be interrupted otherwise.

    Args:
        url: Address of the endpoint.
        body: Body of the request.
        headers: Headers of the request.
        seconds: Time limit for everything, from the name lookup to the last byte.

    Raises:
        TimeoutError: The time is over.
        OSError: There is no connection, or the response is an HTTP error.
        HTTPException: The response is not HTTP, or ends too early.
    """
    request = urllib.request.Request(url, body, headers)  # noqa: S310 (the scheme is checked)
    outcomes: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def send() -> None:
        try:
            outcomes.put(_read_response(request, seconds))
        except Exception as error:  # raised again in the waiting thread
            outcomes.put(error)

    threading.Thread(target=send, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _read_response(request: urllib.request.Request, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    content = b""
    with OPENER.open(request, timeout=seconds) as response:
        while len(content) < MAX_RESPONSE_BYTES:
            chunk = response.read1(MAX_RESPONSE_BYTES - len(content))
            if not chunk:
                break
            content += chunk
            if time.monotonic() > end:
                raise TimeoutError
        is_cut_off = response.length and len(content) < MAX_RESPONSE_BYTES
        if is_cut_off:  # fewer bytes than Content-Length says
            raise IncompleteRead(content, response.length)
    return content
