"""Jobs run one after the other, report how they end, and can be stopped."""

import asyncio
import threading

import pytest

from crosscoder.errors import UserError
from crosscoder.explore.jobs import MAX_WAITING, Job, Worker

TIMEOUT = 20


def follow(job: Job) -> list[dict]:
    async def collect() -> list[dict]:
        return [event async for event in job.follow()]

    return asyncio.run(asyncio.wait_for(collect(), TIMEOUT))


def kinds(job: Job) -> list[str]:
    return [event["event"] for event in follow(job)]


def test_a_job_reports_its_events_and_its_end():
    job = Worker().submit(lambda job: job.emit("news", text="x"))
    events = follow(job)
    assert [event["event"] for event in events] == ["queued", "started", "news", "done"]
    assert events[0]["job"] == job.number
    assert events[2]["text"] == "x"


def test_two_readers_get_all_events_also_afterwards():
    worker = Worker()
    job = worker.submit(lambda job: job.emit("news"))
    assert kinds(job) == kinds(job) == ["queued", "started", "news", "done"]


def test_jobs_run_one_after_the_other():
    worker = Worker()
    order: list[int] = []
    is_open = threading.Event()

    def wait(job: Job) -> None:
        assert is_open.wait(TIMEOUT)
        order.append(1)

    first = worker.submit(wait)
    second = worker.submit(lambda job: order.append(2))
    assert second.events[0]["n_before"] == 1
    assert not second.has_ended
    is_open.set()
    follow(second)
    assert order == [1, 2]
    assert first.has_ended


def test_a_running_job_stops_at_its_next_check_and_the_next_one_runs():
    worker = Worker()
    has_begun = threading.Event()

    def work(job: Job) -> None:
        has_begun.set()
        while True:
            job.check()

    job = worker.submit(work)
    assert has_begun.wait(TIMEOUT)
    assert worker.stop(job.number)
    assert kinds(job)[-1] == "stopped"
    assert kinds(worker.submit(lambda job: None))[-1] == "done"


def test_a_waiting_job_can_be_stopped_and_never_starts():
    worker = Worker()
    is_open = threading.Event()
    worker.submit(lambda job: is_open.wait(TIMEOUT))
    ran: list[int] = []
    waiting = worker.submit(lambda job: ran.append(1))
    waiting.stop()
    is_open.set()
    assert kinds(waiting) == ["queued", "stopped"]
    assert ran == []


def test_an_unknown_job_cannot_be_stopped():
    assert not Worker().stop(10**9)


def test_errors_end_the_job_in_one_line(caplog):
    worker = Worker()

    def fail(job: Job) -> None:
        raise UserError("expected\nthis")

    def break_down(job: Job) -> None:
        raise ZeroDivisionError("a bug")

    assert follow(worker.submit(fail))[-1] == {"event": "failed", "error": "expected this"}
    assert follow(worker.submit(break_down))[-1]["error"] == "unexpected ZeroDivisionError: a bug"
    assert "Traceback" in caplog.text
    assert kinds(worker.submit(lambda job: None))[-1] == "done"


def test_a_full_queue_is_refused():
    worker = Worker()
    is_open = threading.Event()
    jobs = [worker.submit(lambda job: is_open.wait(TIMEOUT)) for _ in range(MAX_WAITING + 1)]
    with pytest.raises(UserError, match="are waiting"):
        worker.submit(lambda job: None)
    is_open.set()
    for job in jobs:
        follow(job)
