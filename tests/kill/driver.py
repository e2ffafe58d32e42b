"""`prefloom build` with a fuse: dies of SIGKILL at a named point, and logs every question asked and every answer journaled.

    python tests/kill/driver.py LOG POINT NTH build demo --out /tmp/x

A point is an event of the build, `<what> <path>`, matched as a glob; the NTH match kills. The events:

    journal-torn DIR      half of a batch of answers is written to the journal       journal DIR      all of it is
    write PATH            a file is being written under its temporary name           fsynced PATH     it is synced, not renamed
    renamed PATH          it stands under its name                                   linking PATH     the manifest is about to appear
    server -              the build waits for Prefect's server                       flow -           it answers, the flow begins
    migrating -           the same wait, 3 s on, while a first start makes its database

POINT `-` never matches. The product knows nothing of this file: it wraps functions from outside.
"""

import fnmatch
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefloom.flows import cli, local_server
from prefloom.flows.dataset import journal, store
from prefloom.flows.engines.society import Society


class Fuse:
    """Counts matching events and kills this process at the one that is meant."""

    def __init__(self, log: str, point: str, nth: int) -> None:
        self.point, self.left = point, nth
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, line: str) -> None:
        os.write(self.log, (line + "\n").encode())

    def event(self, what: str, path: object) -> None:
        if fnmatch.fnmatch(f"{what} {path}", self.point):
            self.left -= 1
            if self.left == 0:
                self.note(f"killed {what} {path}")
                os.kill(os.getpid(), signal.SIGKILL)


def install(fuse: Fuse) -> None:
    """Wrap the places where progress is made."""
    replies, append, aside, rename, link = Society._replies, journal.Segment.append, store.Store._write_aside, store._rename, store._link
    wait = local_server._wait

    def logged_replies(self: Society, requests: Any) -> Any:
        for request in requests:
            fuse.note(f"asked {request.key(self.identity)}")
        return replies(self, requests)

    def logged_append(self: journal.Segment, rows: Any) -> None:
        batch = list(rows)
        folder = Path(self.file.name).parent.name
        if fnmatch.fnmatch(f"journal-torn {folder}", fuse.point) and fuse.left == 1:
            half = b"".join(b'{"key":"%b","scope":"%b","reply":%b}\n' % (k.encode(), s.encode(), r) for k, s, r in batch)
            self.file.write(half[: len(half) // 2])
        fuse.event("journal-torn", folder)
        append(self, batch)
        for key, _, _ in batch:
            fuse.note(f"journaled {key}")
        fuse.event("journal", folder)

    def logged_aside(self: store.Store, name: str, write: Callable[[Any], Any]) -> Any:
        def half_way(file: Any) -> None:
            write(file)
            file.flush()
            fuse.event("write", name)

        return aside(self, name, half_way)

    def at(what: str, action: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def wrapped(temporary: Path, target: Path) -> None:
            name = "/".join(target.parts[-2:])
            fuse.event(what, name)
            action(temporary, target)
            fuse.event("renamed", name)

        return wrapped

    def logged_wait(*arguments: Any) -> None:
        fuse.event("server", "-")
        if fuse.point == "migrating -":
            time.sleep(3)  # a first start takes longer than this to make its database
            fuse.event("migrating", "-")
        wait(*arguments)
        fuse.event("flow", "-")

    Society._replies = logged_replies  # type: ignore[method-assign]
    journal.Segment.append = logged_append  # type: ignore[method-assign]
    store.Store._write_aside = logged_aside  # type: ignore[method-assign]
    store._rename, store._link = at("fsynced", rename), at("linking", link)
    local_server._wait = logged_wait


def main(log: str, point: str, nth: str, *arguments: str) -> None:
    """Run the command with these arguments until the fuse blows."""
    install(Fuse(log, point, int(nth)))
    sys.argv = ["prefloom", *arguments]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
