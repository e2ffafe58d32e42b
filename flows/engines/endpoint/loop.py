"""The asyncio loop on which all calls are made, and the way back from it into the threads of the stages.

pool = on_loop(open_pool())                          # from any thread: run it there, wait for what comes of it
job = Job(4096, 600.0);  yield from job.batches(stop)       # from the asker's thread: what the loop delivers to this job
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from typing import Any, TypeVar

from prefloom.flows.engines.asking import STOPPING
from prefloom.flows.engines.protocol import Reply

_DRAIN = 10.0  # seconds that calls in flight get to be answered once a build is interrupted, or its servers fail
T = TypeVar("T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The one loop; its thread starts with the first call and ends with the process."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, name="prefloom-endpoints", daemon=True).start()
    return made


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the loop and wait."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


class Job:
    """One `answer`: what the loop has delivered, and the thread that waits for it."""

    def __init__(self, size: int, longest: float) -> None:
        self.left, self.flying = size, 0
        self.closed = self.gone = False  # nothing more is asked; nobody is there any more
        self._longest = longest  # seconds that one call may take
        self._ready: deque[tuple[int, Reply]] = deque()
        self._wake, self._told = threading.Event(), False
        self._error: BaseException | None = None

    def deliver(self, replies: list[tuple[int, Reply]]) -> None:
        """On the loop: hand over, and wake the thread once for all that this turn of the loop brings."""
        self._ready.extend(replies)
        if not self._told:
            self._told = True
            loop().call_soon(self._wake.set)

    def fail(self, error: BaseException) -> None:
        """On the loop: nothing more will come."""
        self._error, self.closed = error, True
        self._wake.set()

    def move(self, step: int) -> None:
        """On the loop: a call has taken off (1) or landed (-1)."""
        self.flying += step

    def batches(self, stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """In the asker's thread: what was delivered, until all of it is here or nothing more will come.

        After a stop, what is in flight is paid for and waited for: as long as it may take, or not long if the user wants to leave.
        """
        closed: float | None = None
        while self.left:
            self._wake.wait(0.1)
            self._wake.clear()
            self._told = False
            landed = not self.flying  # looked at first: what lands later is delivered later
            batch = [self._ready.popleft() for _ in range(len(self._ready))]
            self.left -= len(batch)
            if batch:
                yield batch
            if closed is None and (self.closed or stop()):
                self.closed, closed = True, time.monotonic()
            if batch or closed is None:
                continue
            longest = _DRAIN if self._error or STOPPING.is_set() else self._longest
            if landed or time.monotonic() > closed + longest:
                if self._error:
                    raise self._error
                return
