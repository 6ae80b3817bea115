"""Work of the models, one piece after the other, in one thread.

A job reports events, which any number of clients can follow from the first one on. The last event
says how it ended: done, stopped or failed.
"""

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from crosscoder.errors import UserError, describe_error, first_line

log = logging.getLogger(__name__)

Event = dict[str, Any]
ENDS = ("done", "stopped", "failed")
MAX_WAITING = 16  # jobs

_numbers = itertools.count(1)


class Stopped(Exception):
    """Raised in a job that was stopped."""


class Job:
    """One piece of work.

    Args:
        work: Function of the job. It emits events, and calls `check` often.

    Attributes:
        number: Number of the job, for `Worker.stop`.
        events: Everything that was reported so far.
    """

    def __init__(self, work: Callable[["Job"], None]) -> None:
        self.number = next(_numbers)
        self.work = work
        self.events: list[Event] = []
        self._is_stopped = threading.Event()
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def emit(self, kind: str, **content: Any) -> None:
        """Report an event."""
        with self._lock:
            self.events.append({"event": kind, **content})
            listeners = list(self._listeners)
        for notify in listeners:
            notify()

    def check(self) -> None:
        """Raise Stopped if the job was stopped."""
        if self._is_stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """Ask the job to end at its next check."""
        self._is_stopped.set()

    @property
    def has_ended(self) -> bool:
        """Return whether the last event was reported."""
        return bool(self.events) and self.events[-1]["event"] in ENDS

    def run(self) -> None:
        """Do the work. No exception leaves this function."""
        try:
            self.check()
            self.emit("started")
            self.work(self)
        except Stopped:
            self.emit("stopped")
        except Exception as error:
            message = describe_error(error)
            if message is None:
                log.exception("a request failed")
                message = f"unexpected {type(error).__name__}: {first_line(error)}"
            self.emit("failed", error=" ".join(message.split()))
        else:
            self.emit("done")

    async def follow(self) -> AsyncIterator[Event]:
        """Yield all events, those from before included, up to the last one."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def notify() -> None:
            loop.call_soon_threadsafe(news.set)

        with self._lock:
            self._listeners.append(notify)
        try:
            n_sent = 0
            while True:
                news.clear()
                while n_sent < len(self.events):
                    event = self.events[n_sent]
                    n_sent += 1
                    yield event
                    if event["event"] in ENDS:
                        return
                await news.wait()
        finally:
            with self._lock:
                self._listeners.remove(notify)


class Worker:
    """Thread that does jobs in the order in which they come."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="models", daemon=True).start()

    def submit(self, work: Callable[[Job], None]) -> Job:
        """Add a job at the end of the queue.

        Raises:
            UserError: Too many jobs are waiting.
        """
        job = Job(work)
        with self._lock:
            n_before = len(self._jobs)
            if n_before > MAX_WAITING:
                raise UserError(f"{n_before} requests are waiting: stop some of them first")
            self._jobs[job.number] = job
        job.emit("queued", job=job.number, n_before=n_before)
        self._waiting.put(job)
        return job

    def stop(self, number: int) -> bool:
        """Stop a job that runs or waits; return whether there is one."""
        with self._lock:
            job = self._jobs.get(number)
        if job is not None:
            job.stop()
        return job is not None

    def _run(self) -> None:
        while True:
            job = self._waiting.get()
            job.run()
            with self._lock:
                del self._jobs[job.number]
