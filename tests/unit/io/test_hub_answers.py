"""Wrong, too large or endless answers of a hub: one line names the repository and the cause."""

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from crosscoder.data.corpora.text import HubDataset
from crosscoder.errors import UserError
from crosscoder.io import hub_answers
from crosscoder.io.hub import download_snapshot
from tests.helpers.hub import Hub, running

pytestmark = pytest.mark.faults

INFO, LISTING, HEAD, FILE = (
    "/api/models/owner/model/revision",
    "/tree/",
    "HEAD /owner",
    "GET /owner",
)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crosscoder.io.hub.WAITS", (0.0,))
    with running(tmp_path / "cache") as hub:
        hub.files["owner/model"] = {"config.json": b"{}", "model.safetensors": b"12345"}
        hub.files["owner/rows"] = {"train.jsonl": b'{"text": "line"}\n' * 3}
        yield hub


def answers(body: bytes, code: int = 200, length: int | None = None, **headers: str) -> Callable:
    """Make an answer in place of the hub's."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in {"Connection": "close", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


def sends(content: bytes) -> Callable:
    """Make an answer of these bytes, after which the connection is closed."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    return answer


def begins(handler: BaseHTTPRequestHandler) -> None:
    """Answer with the first byte of many, at once; the others never come."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b" ")
    handler.server.closing.wait()


def loops(handler: BaseHTTPRequestHandler) -> None:
    answers(b"", 302, Location=handler.path)(handler)


def entries(*paths: object) -> Callable:
    """Make a listing of files of these names."""
    return answers(
        json.dumps(
            [{"type": "file", "path": path, "size": 2, "oid": "x"} for path in paths]
        ).encode()
    )


PORTAL = answers(b"<html>please log in</html>", **{"Content-Type": "text/html"})
NONSENSE = {
    "a portal": (INFO, PORTAL, "invalid JSON"),
    "a portal for the listing": (LISTING, PORTAL, "invalid JSON"),
    "a portal for a file": (FILE, PORTAL, "Consistency check failed"),
    "a portal for what is known of a file": (HEAD, PORTAL, "X-Repo-Commit"),
    "nothing": (INFO, answers(b""), "invalid JSON"),
    "a list": (INFO, answers(b"[]"), r"should be an object, not \[\]"),
    "null": (INFO, answers(b"null"), "should be an object, not None"),
    "null for the listing": (LISTING, answers(b"null"), "should be a valid array, not None"),
    "an empty object": (INFO, answers(b"{}"), "makes no sense .*id"),
    "a commit that is a number": (INFO, answers(b'{"id": "owner/model", "sha": 5}'), "sha: "),
    "files that are a number": (
        INFO,
        answers(b'{"id": "owner/model", "siblings": 5}'),
        "makes no sense",
    ),
    "a listing of nothing": (LISTING, answers(b"[null]"), "should be an object, not None"),
    "a file without a name": (LISTING, answers(b'[{"type": "file"}]'), "path: field required"),
    "names that are numbers": (LISTING, entries(5), "path: "),
    "a null byte in a name": (LISTING, entries("a\0.json"), "a path stays inside"),
    "an absolute name": (LISTING, entries("/tmp/config.json"), "a path stays inside"),
    "nested too deeply": (INFO, answers(b"[" * 100_000), "recursion limit"),
    "text that is not Unicode": (INFO, answers(b'{"id": "\xff"}'), "invalid unicode"),
    "a loop": (INFO, loops, "TooManyRedirects"),
    "a loop for a file": (FILE, loops, "TooManyRedirects"),
    "a redirect to a file of this machine": (
        FILE,
        answers(b"", 302, Location="file:///etc/passwd"),
        "file://",
    ),
    "a redirect to nobody": (
        INFO,
        answers(b"", 302, Location="http://127.0.0.1:9/"),
        "Connection refused",
    ),
    "an end before the headers": (INFO, sends(b""), "disconnected"),
    "an end within the headers": (INFO, sends(b"HTTP/1.1 200 OK\r\nContent-Le"), "disconnected"),
    "an end within the body": (INFO, answers(b"{", length=1000), "peer closed connection"),
    "no HTTP": (INFO, sends(b"\0\1\2\r\n\r\n"), "illegal status line"),
    "a length that is none": (
        INFO,
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n"),
        "bad Content-Length",
    ),
    "a larger body than it says": (INFO, answers(b"[]" * 500, length=1), "invalid JSON"),
    "not compressed": (INFO, answers(b"{}", **{"Content-Encoding": "gzip"}), "DecodingError"),
    "proxy authentication": (
        INFO,
        answers(b"", 407),
        "the hub answers 407 Proxy Authentication Required",
    ),
    "escape sequences": (
        INFO,
        answers(b'{"id": "owner/model", "sha": "\\u001b[2J"}'),
        r"\\x1b\[2J",
    ),
}


@pytest.mark.parametrize(("asked", "answer", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_an_answer_that_makes_no_sense_is_one_line_with_repository_and_cause(
    hub, asked, answer, reason
):
    hub.trouble = lambda request: answer if asked in request else None
    with pytest.raises(UserError, match=r"^cannot get 'owner/model': .*" + reason) as error:
        download_snapshot("owner/model", ["*.safetensors", "*.json"])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


def test_no_answer_names_a_file_elsewhere(hub, tmp_path):
    info = json.dumps({"id": "owner/model", "sha": "../../../elsewhere", "siblings": []}).encode()
    for asked, answer in ((INFO, answers(info)), (LISTING, entries("../../../../elsewhere.json"))):
        hub.trouble = lambda request, asked=asked, answer=answer: (
            answer if asked in request else None
        )
        with pytest.raises(UserError, match=r"not '../../../"):
            download_snapshot("owner/model", ["*.json"])
    assert not list(tmp_path.rglob("*elsewhere*"))


class Clock:
    """A clock that moves by `step` seconds when it is read, and otherwise when it is set."""

    def __init__(self) -> None:
        self.step = 0.0
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("asked", [INFO, FILE])
def test_an_answer_that_begins_in_time_and_does_not_end_is_given_up(hub, monkeypatch, asked):
    clock = Clock()

    def answer(request: str) -> Callable | None:
        clock.step = 100 if asked in request else 0
        return begins if asked in request else None

    monkeypatch.setattr(hub_answers, "time", clock)
    hub.trouble = answer
    with pytest.raises(
        UserError, match=r"cannot get 'owner/model': .* the hub is out of reach \(the hub"
    ):
        download_snapshot("owner/model", ["*.safetensors"])


class Drops(httpx.SyncByteStream):
    """The body of a response in chunks of these sizes, of which one comes every second."""

    def __init__(self, clock: Clock, sizes: list[int]) -> None:
        self.clock = clock
        self.sizes = sizes
        self.n_chunks = 0

    def __iter__(self) -> Iterator[bytes]:
        for size in self.sizes:
            self.clock.now += 1
            self.n_chunks += 1
            yield b" " * size


@pytest.mark.parametrize(
    ("path", "sizes", "seconds"),
    [
        ("api/models/owner/model", [1] * 1000, 31),  # an answer of the API has three timeouts
        ("owner/model/resolve/main/x", [90] * 1000, 11),  # too few bytes of a file in one
        ("owner/model/resolve/main/x", [10**6] * 11 + [1] * 1000, 22),  # too few in the second
        ("owner/model/resolve/main/x", [100] * 1000, None),  # enough in each
    ],
)
def test_an_answer_in_drops_is_given_up_after_the_timeout_unless_it_is_a_file_that_grows(
    monkeypatch, path, sizes, seconds
):
    clock = Clock()
    monkeypatch.setattr(hub_answers, "time", clock)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 10)
    drops = Drops(clock, sizes)
    request = httpx.Request("GET", f"http://hub/{path}")
    response = httpx.Response(200, request=request, stream=drops)

    def read() -> int:
        hub_answers.limit_answer(response)
        return sum(len(chunk) for chunk in response.iter_raw())

    if seconds is None:
        assert read() == sum(sizes)
    else:
        with pytest.raises(TimeoutError):
            read()
        assert drops.n_chunks == seconds


def test_an_answer_that_is_too_large_is_not_read_to_its_end(hub, monkeypatch):
    monkeypatch.setattr(hub_answers, "MAX_ANSWER", 1000)
    hub.trouble = lambda request: answers(b"[" + b"0," * 1000 + b"0]") if INFO in request else None
    with pytest.raises(UserError, match=r"is larger than 1,000 bytes"):
        download_snapshot("owner/model", ["*.safetensors"])


def test_a_hub_that_wants_to_be_left_alone_for_a_day_is_asked_sooner(hub, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pause = {"Retry-After": "86400", "RateLimit": '"api";r=0;t=86400'}
    hub.trouble = lambda request: answers(b"", 429, **pause) if LISTING in request else None
    with pytest.raises(UserError, match=r"out of reach \(429"):
        download_snapshot("owner/model", ["*.safetensors"])
    assert max(slept) < 60


def test_a_proxy_that_is_not_there_is_one_line(hub, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot get 'owner/model': .* out of reach \(.*refused"):
        download_snapshot("owner/model", ["*.safetensors"])


def test_files_in_the_cache_serve_if_something_stands_in_between(hub, caplog):
    first = download_snapshot("owner/model", ["*.safetensors"])
    hub.trouble = lambda request: PORTAL
    with caplog.at_level(logging.WARNING, "crosscoder.io.hub"):
        assert download_snapshot("owner/model", ["*.safetensors"]) == first
    assert "using owner/model from the hub cache, since the hub's answer" in caplog.text


def test_a_full_disk_is_not_taken_for_the_hub(hub, monkeypatch):
    def write(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "cache/model.safetensors")

    monkeypatch.setattr(Path, "mkdir", write)
    monkeypatch.setattr("os.makedirs", write)
    with pytest.raises(OSError, match="No space left"):
        download_snapshot("owner/model", ["*.safetensors"])


@pytest.mark.parametrize(
    "answer",
    [
        PORTAL,
        answers(b"[]"),
        answers(b"null"),
        answers(b"{}"),
        answers(b"[" * 100_000),
        loops,
        sends(b""),
    ],
    ids=["portal", "list", "null", "object", "deep", "loop", "closed"],
)
@pytest.mark.parametrize("asked", ["", "/api/", "/resolve/"])
def test_so_it_is_with_a_data_set_that_is_streamed(hub, monkeypatch, asked, answer):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr("datasets.config.STREAMING_READ_MAX_RETRIES", 2)
    hub.trouble = lambda request: answer if asked in request else None
    with pytest.raises(UserError) as error:
        list(HubDataset("owner/rows").documents("train"))
    assert "owner/rows" in str(error.value)
    assert str(error.value).isprintable()
