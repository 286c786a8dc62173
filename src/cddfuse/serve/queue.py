"""The queue: how many requests are worked on and wait, how long, and until when."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from cddfuse.serve.refusal import LeftError, RefusedError

Result = TypeVar("Result")

_current = threading.local()


class Job:
    """The work on one request, as the thread that does it and those who wait for it see it."""

    def __init__(self) -> None:
        self.share = 0.0
        """Of the work that is done."""

        self.frames = self.frame = 0
        """Of a clip: how many there are, and how many are done."""

        self.started = False
        self._left = threading.Event()
        self._ends: list[Callable[[], None]] = []

    def leave(self) -> None:
        """Say that nobody waits for the result."""
        self._left.set()
        for end in list(self._ends):
            end()

    def when_left(self, end: Callable[[], None]) -> None:
        """Have something called when nobody waits for the result; at once if nobody does."""
        self._ends.append(end)
        if self._left.is_set():
            end()

    def check(self) -> None:
        """End the work if nobody waits for it."""
        if self._left.is_set():
            raise LeftError

    def progress(self, share: float) -> None:
        """Take up the share that is done; ends the work if nobody waits for it."""
        self.check()
        self.share = min(1.0, max(0.0, share))


def check_current() -> None:
    """End the work of this thread if nobody waits for it. Anything long calls it in between."""
    job = getattr(_current, "job", None)
    if job is not None:
        job.check()


class Queue:
    """Works on few requests at a time, lets few others wait, and refuses the rest.

    Everything but the work itself runs in the event loop.

    Args:
        jobs: worked on at a time.
        waiting: that may wait, or be uploaded.
        seconds: time limit of the work on one.
    """

    def __init__(self, jobs: int, waiting: int, seconds: float) -> None:
        self.seconds = seconds
        self.present = 0
        """Requests that are uploaded, wait or are worked on."""

        self.running = 0
        """Threads at work; those for clients that have left end at their next step."""

        self._most = jobs + waiting
        self._jobs = jobs
        self._free = asyncio.Semaphore(jobs)
        self._line: list[Job] = []
        self._working: set[Job] = set()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="serve")
        self._mean = 2.0  # seconds of a job, of the last few

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, from before the upload to after the answer."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Take a place; `leave` must follow."""
        if self.present >= self._most:
            wait = max(1, round(self._mean * self.present / self._jobs))
            text = f"the service is busy with {self.present} requests: try again in {wait} s."
            raise RefusedError(503, text, {"Retry-After": str(wait)})
        self.present += 1

    def leave(self) -> None:
        """Give the place back."""
        self.present -= 1

    def ahead(self, job: Job) -> int:
        """How many jobs are worked on before it."""
        return self._line.index(job) + self.running if job in self._line else 0

    async def run(
        self, work: Callable[[Job], Result], job: Job, seconds: float | None = None
    ) -> Result:
        """The result of work in a thread, when it is its turn.

        If the caller is cancelled, or the time is up, the work ends at its next step, and the next
        one begins when it has.

        Args:
            work: what is done.
            job: what follows it.
            seconds: time limit; None is that of the queue.
        """
        seconds = seconds or self.seconds
        self._line.append(job)
        try:
            await self._free.acquire()
        finally:
            self._line.remove(job)
        loop = asyncio.get_running_loop()
        self.running += 1
        self._working.add(job)
        started = time.monotonic()
        future = loop.run_in_executor(self._pool, _run, work, job)
        future.add_done_callback(lambda done: self._finished(done, job, started))
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except asyncio.TimeoutError as error:
            text = f"this took longer than {seconds:g} s: use smaller sources or mean, for one."
            raise RefusedError(504, text) from error
        finally:
            job.leave()

    def close(self) -> None:
        """End: what waits is dropped, and what is worked on ends at its next step."""
        for job in self._working:
            job.leave()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finished(self, future: "asyncio.Future[Result]", job: Job, started: float) -> None:
        self.running -= 1
        self._working.discard(job)
        self._free.release()
        if not future.cancelled() and future.exception() is None:  # looking at it marks it as seen
            self._mean += 0.2 * (time.monotonic() - started - self._mean)


def _run(work: Callable[[Job], Result], job: Job) -> Result:
    job.check()
    job.started = True
    _current.job = job
    try:
        return work(job)
    finally:
        _current.job = None
