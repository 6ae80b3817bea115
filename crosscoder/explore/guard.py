"""Refuse requests that do not come from the page itself.

The page runs models and writes files, so no other page in the browser may use it. The socket
listens on 127.0.0.1 only. Each request needs three things:

    Host     the own address: a foreign name that resolves to 127.0.0.1 is refused (DNS rebinding)
    Origin   the own address, if the browser sends one: requests of other pages are refused
    token    the first part of the path, random at each start

The answer to any other request is the status 403 and one line of JSON.
"""

import hmac
import secrets
from collections.abc import Iterable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("127.0.0.1", "localhost")
TOKEN_BYTES = 24
HEADERS = {
    "cache-control": "no-store",
    # inline styles: a bar's length and a token's colour; everything else comes from this server
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def make_token() -> str:
    """Return a random token for the address."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Guard:
    """Application that passes on requests of its own page, and refuses all others.

    Args:
        app: The application behind it; its paths begin with the token.
        token: The token.
        port: Port of the server.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app = app
        self.token = token
        self.hosts = [f"{name}:{port}" for name in NAMES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        reason = self.find_reason(scope)
        if reason is None:
            await self.app(scope, receive, add_headers(send))
        elif scope["type"] == "http":
            refusal = JSONResponse({"error": reason}, status_code=403)
            await refusal(scope, receive, add_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def find_reason(self, scope: Scope) -> str | None:
        """Return why a request is refused; None if it is not."""
        host = find_headers(scope, b"host")
        if len(host) != 1 or host[0] not in self.hosts:
            return f"expected the host {self.hosts[0]}"
        origin = find_headers(scope, b"origin")
        if origin and origin != [f"http://{host[0]}"]:
            return "requests of other pages are refused"
        found = scope["path"].split("/")[1]
        if not hmac.compare_digest(found.encode(), self.token.encode()):
            return "expected the address that the command printed, with its token"
        return None


def find_headers(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a header."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def add_headers(send: Send) -> Send:
    """Return a `send` that adds the headers to each response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers
