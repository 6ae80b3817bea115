"""A hub on this machine: repositories of a few files, and whatever trouble a real one gives."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote_plus

import datasets
import huggingface_hub
import pytest

COMMIT = "0123456789abcdef" * 2 + "01234567"
SILENCE = "silence"


class Hub(ThreadingHTTPServer):
    """`files` by repository and path, unless there is `trouble` with what is asked for.

    That is the number of an HTTP error, SILENCE (a connection on which nothing ever comes), or a
    function that is given the request's handler and answers in place of the hub.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.trouble: Callable[[str], int | str | Callable | None] = lambda asked: None
        self.asked: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.body = unquote_plus(
            self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        )
        asked = f"{self.command} {self.path}"
        self.server.asked.append(asked)
        trouble = self.server.trouble(asked)
        if trouble == SILENCE:
            self.server.closing.wait()
            self.close_connection = True
        elif callable(trouble):
            with contextlib.suppress(OSError):  # who asked may have given up
                trouble(self)
        elif trouble:
            self.send(int(trouble), b"")
        else:
            self.answer()

    do_HEAD = do_POST = do_GET

    def answer(self) -> None:
        for repo, files in self.server.files.items():
            if re.match(rf"/api/\w+/{repo}(/revision/.*)?$", self.path):
                siblings = [{"rfilename": name} for name in files]
                self.send(200, {"id": repo, "sha": COMMIT, "siblings": siblings})
                return
            if re.match(rf"/api/\w+/{repo}/(tree|paths-info)/", self.path):
                entries = [
                    {"type": "file", "path": n, "size": len(c), "oid": n} for n, c in files.items()
                ]
                self.send(
                    200, [entry for entry in entries if not self.body or entry["path"] in self.body]
                )
                return
            if found := re.search(rf"/{repo}/resolve/\w+/(.*)", self.path):
                content = files.get(found[1])
                self.send(
                    *(
                        (404, b"", {"X-Error-Code": "EntryNotFound"})
                        if content is None
                        else (200, content)
                    )
                )
                return
        self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def send(self, code: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if code == 200 and (
            part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        ):
            code, body = 206, body[int(part[1]) : int(part[2]) + 1 if part[2] else None]
        self.send_response(code)
        for name, value in {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{len(body)}"',
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(cache: Path) -> Iterator[Hub]:
    """While open, `huggingface_hub` and `datasets` ask this hub, and wait a second for it."""
    hub, constants = Hub(), huggingface_hub.constants
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        patch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        try:
            yield hub
        finally:
            hub.closing.set()
            hub.shutdown()
            hub.server_close()
            huggingface_hub.close_session()  # connections to this hub
