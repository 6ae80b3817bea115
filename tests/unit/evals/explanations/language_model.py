"""A local server in the place of a language model that explains latents.

It knows the one word on which the latent of these tests is active.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

from crosscoder.behaviours.chat_endpoint import ChatEndpoint

WORD = "blue"
Reply = Callable[[str], str]


def list_excerpts(text: str) -> list[str]:
    """Return the numbered excerpts of a request."""
    excerpts = []
    for line in text.splitlines():
        number, point, excerpt = line.partition(". ")
        if point and number.isdigit():
            excerpts.append(excerpt)
    return excerpts


def answer_well(text: str) -> str:
    """Reply as a model does that has understood."""
    excerpts = list_excerpts(text)
    if "have in common? Reply" in text:
        return f"the word {WORD}"
    if "does not belong" in text:
        without = [i for i, excerpt in enumerate(excerpts, 1) if WORD not in excerpt]
        return str(without[0])
    if "are between" in text:
        return json.dumps([int(f"« {WORD}»" in excerpt) for excerpt in excerpts])
    return json.dumps([int(WORD in excerpt) for excerpt in excerpts])


def answer_wrongly(text: str) -> str:
    """Reply the opposite."""
    reply = answer_well(text)
    if reply.startswith("["):
        return json.dumps([1 - flag for flag in json.loads(reply)])
    if reply.isdigit():
        return str(int(reply) % 5 + 1)
    return reply


def answer_badly(text: str) -> str:
    """Reply in prose, without what was asked for."""
    return "As a language model I would rather talk about 1, 0 or maybe 3 other things."


@contextlib.contextmanager
def serve(reply: Reply, seconds: float = 0.0, **settings) -> Iterator[tuple[ChatEndpoint, list]]:
    """Serve replies, each after some seconds; yield the endpoint and the texts of the requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"]
            asked.append(text)
            time.sleep(seconds)
            message = {"choices": [{"message": {"role": "assistant", "content": reply(text)}}]}
            content = json.dumps(message).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # nobody waits any more
                self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    try:
        yield ChatEndpoint(url, "parrot", **{"key_env": None, **settings}), asked
    finally:
        server.shutdown()
        server.server_close()
