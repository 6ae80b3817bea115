"""The server of the page, on this machine alone."""

import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from crosscoder.errors import UserError
from crosscoder.explore.guard import Guard, make_token
from crosscoder.explore.routes import Routes, answer_error
from crosscoder.explore.session import Session


def build_app(session: Session, token: str, port: int) -> Guard:
    """Return the whole application, whose models begin to load."""
    routes = Routes(session).build()
    app = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        exception_handlers={UserError: answer_error},
    )
    return Guard(app, token, port)


def serve(session: Session, listener: socket.socket, announce: Callable[[str], None]) -> None:
    """Answer requests until a signal ends the program.

    Args:
        session: The run that is explored.
        listener: Socket that listens on this machine.
        announce: Function that gets the address once it can be opened.
    """
    host, port = listener.getsockname()
    token = make_token()
    app = build_app(session, token, port)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    # in the main thread uvicorn would replace the handlers of signals (see runtime/signals.py)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    announce(f"http://{host}:{port}/{token}/")
    thread.join()
