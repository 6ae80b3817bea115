"""Routes of the page: its files, work of the models, and experiments.

Work of the models is answered as it goes on: one line of JSON for each event of its job.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from crosscoder.errors import UserError
from crosscoder.explore.code import write_code
from crosscoder.explore.experiments import (
    Experiment,
    list_experiments,
    load_experiment,
    save_experiment,
    to_json,
)
from crosscoder.explore.generate import Request
from crosscoder.explore.jobs import Job, Worker
from crosscoder.explore.page import Page
from crosscoder.explore.session import Session
from crosscoder.explore.work import WORK
from crosscoder.io.run_dir import replace_nonfinite
from crosscoder.io.schema import parse_json

MAX_BODY = 2**20  # bytes of a request
BAD_REQUEST = 400


@dataclass(frozen=True)
class SaveRequest:
    """Experiment to save.

    Args:
        request: Prompt, edits and settings.
        answers: Text by column.
    """

    request: Request
    answers: dict[str, str] = field(default_factory=dict)


class Routes:
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

    def build(self) -> list[Route]:
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

    def _describe(self, experiment: Experiment) -> Response:
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
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=BAD_REQUEST)
