"""One build per run where there is no flock: a lease on an object store, renewed by a heartbeat.

    <run>/.lock/000007.json      {"host": "h", "pid": 4711, "started": "…", "token": "…", "beat": 12, "renewed": 1795400000.0}

    with lease(store) as check:
        …                        # InputError names the holder if another build has it
        check()                  # InputError once it is lost

Created conditionally, so of many who come at once one gets it. The holder writes its file anew every BEAT seconds. Who finds a file watches
it: one that changes belongs to a living build, one that stays as it is for STALE seconds belongs to a dead one, and the file with the next
number takes its place. No clock is compared with another machine's. A holder that could not renew for LOST seconds, which are fewer, stops.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from prefloom.flows.dataset.objects import expect_conditions
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError

logger = logging.getLogger("prefloom")
BEAT, LOST, STALE = 5.0, 20.0, 30.0  # seconds


def holder() -> dict[str, Any]:
    """Who this process is, for whoever finds its lock."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}


def describe(text: str | bytes) -> str:
    """`pid 4711 on h, since …` from the content of a lock file."""
    try:
        fields = json.loads(text)
        return f"pid {fields['pid']} on {fields['host']}, since {fields['started']}"
    except (ValueError, KeyError, TypeError):
        return "its name is not written yet"


@contextmanager
def lease(store: Store, lost: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold the lease of a run folder; InputError if a living build has it. `lost` is called once it is not held any more."""
    mine = _Held(store, lost)
    thread = threading.Thread(target=mine.renew, name="prefloom-lease", daemon=True)
    thread.start()
    try:
        yield mine.check
    finally:
        mine.over.set()
        thread.join()
        mine.give_back()


def is_held(store: Store) -> bool:
    """Whether somebody has renewed the lease of late, for those who only watch (clocks that differ by some seconds do no harm)."""
    held = store.read_all(_files(store))
    return any(_field(content, "renewed", 0.0) > time.time() - STALE for content in held.values())


class _Held:
    """A lease from its creation until it is given back or lost."""

    def __init__(self, store: Store, lost: Callable[[], object]) -> None:
        self.store, self.lost = store, lost
        self.over, self.taken = threading.Event(), False
        self.mine = holder() | {"at": _process(), "token": uuid.uuid4().hex}
        self.name = self._acquire()
        self.renewed = time.monotonic()

    def check(self) -> None:
        """InputError if the lease is not held any more."""
        if self.taken or time.monotonic() - self.renewed > LOST:
            found = f"a lock that was not renewed for {LOST:g} s" if not self.taken else "a lock that another build has taken over"
            raise InputError(self.store.url, found=found, expected="one build at a time; the same command goes on from here")

    def renew(self) -> None:
        """Say every BEAT seconds that this build lives; runs in a thread of its own."""
        beat = 0
        while not self.over.wait(BEAT):
            beat += 1
            before = time.monotonic()
            try:
                self.check()  # first: after a long pause somebody else may hold it, and nothing of theirs is written over
                self.store.publish(self.name, partial(_write, self._content(beat)))
                self.taken = _files(self.store)[-1:] != [self.name]
                self.check()
                self.renewed = before
            except (InputError, OSError) as error:
                if self.taken or time.monotonic() - self.renewed > LOST:
                    logger.warning("%s", error)
                    self.lost()
                    return

    def give_back(self) -> None:
        """Remove the file, if it is still ours."""
        try:
            self.check()
            self.store.remove(self.name)
        except (InputError, OSError) as error:
            logger.warning("%s", error)  # it becomes stale

    def _acquire(self) -> str:
        while True:
            found = _files(self.store)
            if found and not self._is_free(found[-1]):
                continue
            name = f".lock/{int(found[-1][6:12]) + 1 if found else 1:06d}.json"
            try:
                self.store.create(name, self._content(0))
            except FileExistsError:
                continue  # somebody was faster: watch them
            expect_conditions(self.store, name)
            for old in found:
                self.store.remove(old)
            return name

    def _is_free(self, name: str) -> bool:
        """Whether the holder is dead; False once it has given the lease back. InputError if it lives."""
        since, first, said = time.monotonic(), None, False
        while time.monotonic() - since < STALE:
            try:
                content = self.store.read(name)
            except FileNotFoundError:
                return False
            first = content if first is None else first
            who = describe(content)
            if content != first:
                raise InputError(self.store.url, found=f"another build of it ({who})", expected="one build per run folder at a time")
            if _is_dead(content):
                return True
            if not said and time.monotonic() - since > BEAT:
                logger.warning("waiting for a sign of life from another build (%s), %g s at most", who, STALE)
                said = True
            time.sleep(min(0.5, BEAT / 4))
        return True

    def _content(self, beat: int) -> bytes:
        return json.dumps(self.mine | {"beat": beat, "renewed": time.time()}).encode()


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _files(store: Store) -> list[str]:
    return store.list(".lock/*.json")


def _field(content: bytes, name: str, default: Any) -> Any:
    try:
        return json.loads(content).get(name, default)
    except (ValueError, AttributeError):
        return default


def _process() -> list[str]:
    """A process in words that no other on any machine has: boot, namespace of process ids, start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return [boot, str(Path("/proc/self/ns/pid").readlink()), _began(os.getpid())]
    except OSError:
        return []


def _began(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _is_dead(content: bytes) -> bool:
    """Whether the holder was a process of this very machine that is gone: nobody need wait for it."""
    at, here = _field(content, "at", []), _process()
    if not here or at[:2] != here[:2]:
        return False
    try:
        return bool(_began(int(_field(content, "pid", 0))) != at[2])
    except OSError:
        return True
