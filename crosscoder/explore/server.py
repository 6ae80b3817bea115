"""Routes of the page, and the server that answers them on this machine alone.

Work of the models is answered as it goes on: one line of JSON for each event of its job.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from crosscoder.errors import UserError
from crosscoder.explore.code import write_code
from crosscoder.explore.compare import compare_readings
from crosscoder.explore.experiments import (
    list_experiments,
    load_experiment,
    save_experiment,
    to_json,
)
from crosscoder.explore.generate import Request, generate, tabulate_next_tokens
from crosscoder.explore.guard import Guard, make_token
from crosscoder.explore.jobs import Job, Worker
from crosscoder.explore.page import Page
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.read_prompt import describe_reading, read_prompt
from crosscoder.explore.session import Session
from crosscoder.io.run_dir import replace_nonfinite
from crosscoder.io.schema import parse_json

MAX_BODY = 2**20  # bytes of a request
READ_FAILED = 400


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
    """

    request: Request
    answer: list[int]
    position: int


@dataclass(frozen=True)
class SaveRequest:
    """Experiment to save.

    Args:
        request: Prompt, edits and settings.
        answers: Text by column.
    """

    request: Request
    answers: dict[str, str] = field(default_factory=dict)


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
    rows = tabulate_next_tokens(session, request.request, request.answer, request.position, job)
    job.emit("next_tokens", position=request.position, rows=rows)


# path: schema of the request, and the work
WORK: dict[str, tuple[type, Callable[[Session, Any, Job], None]]] = {
    "read": (ReadRequest, read),
    "compare": (CompareRequest, compare),
    "generate": (Request, generate),
    "next_tokens": (NextTokensRequest, list_next_tokens),
}


class Server:
    """Answers of the page's requests.

    Args:
        session: The run that is explored.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.page = Page(session)
        self.worker = Worker()
        self.loading = self.worker.submit(self._load)

    def _load(self, job: Job) -> None:
        self.session.load_models(lambda text: job.emit("progress", text=text))

    def build_routes(self) -> list[Route]:
        """List the routes after the token."""
        work = [
            Route(f"/{name}", partial(self.work, schema, function), methods=["POST"])
            for name, (schema, function) in WORK.items()
        ]
        return [
            Route("/", self.show_page),
            Route("/assets/{folder}/{name}", self.show_asset),
            Route("/loading", self.follow_loading),
            Route("/stop/{number:int}", self.stop, methods=["POST"]),
            Route("/code", self.show_code, methods=["POST"]),
            Route("/experiments", self.show_experiments),
            Route("/experiments/{name}", self.show_experiment),
            Route("/experiments/{name}", self.save, methods=["PUT"]),
            *work,
        ]

    def show_page(self, _: HttpRequest) -> Response:
        return Response(self.page.html, media_type="text/html")

    def show_asset(self, http: HttpRequest) -> Response:
        asset = self.page.find_asset(http.path_params["folder"], http.path_params["name"])
        if asset is None:
            return JSONResponse({"error": "there is no such file"}, status_code=404)
        return Response(asset.read_bytes(), media_type=self.page.media_types[asset.suffix])

    async def follow_loading(self, _: HttpRequest) -> Response:
        return StreamingResponse(write_lines(self.loading), media_type="application/x-ndjson")

    async def work(self, schema: type, function: Callable, http: HttpRequest) -> Response:
        """Do the work of a route, and answer with its events."""
        content = await parse_body(http, schema)
        job = self.worker.submit(lambda job: function(self.session, content, job))
        # a browser that leaves stops its job
        lines = write_lines(job, job.stop)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def stop(self, http: HttpRequest) -> Response:
        return JSONResponse({"stopped": self.worker.stop(http.path_params["number"])})

    async def show_code(self, http: HttpRequest) -> Response:
        content = await parse_body(http, Request)
        return JSONResponse({"code": write_code(self.session, content)})

    def show_experiments(self, _: HttpRequest) -> Response:
        return JSONResponse({"names": list_experiments(self.session.run)})

    def show_experiment(self, http: HttpRequest) -> Response:
        return self._describe(load_experiment(self.session.run, http.path_params["name"]))

    async def save(self, http: HttpRequest) -> Response:
        content = await parse_body(http, SaveRequest)
        name = http.path_params["name"]
        run = self.session.run
        save = partial(save_experiment, run, name, content.request, content.answers)
        return self._describe(await asyncio.to_thread(save))

    def _describe(self, experiment: Any) -> Response:
        """Answer with an experiment and its code."""
        code = write_code(self.session, experiment.request)
        return JSONResponse({**to_json(experiment), "code": code})


async def parse_body(http: HttpRequest, schema: type) -> Any:
    """Read the JSON of a request.

    Raises:
        UserError: It is too long, or does not fit the schema.
    """
    body = b""
    async for piece in http.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise UserError(f"a request has at most {MAX_BODY:,} bytes")
    return parse_json(body, schema, "request")


async def write_lines(job: Job, leave: Callable[[], object] = lambda: None) -> AsyncIterator[str]:
    """Yield a line of JSON for each event of a job.

    Args:
        job: The job.
        leave: Called when the reader has left, or all was read.
    """
    try:
        async for event in job.follow():
            yield json.dumps(replace_nonfinite(event), ensure_ascii=False) + "\n"
    finally:
        leave()


async def answer_error(_: HttpRequest, error: Exception) -> Response:
    """Answer an error that the user can correct with one line."""
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=READ_FAILED)


def build_app(session: Session, token: str, port: int) -> Guard:
    """Return the whole application, whose models begin to load."""
    routes = Server(session).build_routes()
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
