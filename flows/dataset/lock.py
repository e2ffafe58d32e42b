"""One build per run folder. The lock dies with its process, however it dies.

    with run_lock(Path("data/runs/demo-3b9c…")):
        …                    # a second build raises InputError: another build of it (pid 4711 on h, since …)

The kernel holds the lock (flock), the file beside it only says who the holder is.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefloom.schemas.errors import InputError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; InputError names the holder if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        for attempt in range(5):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt < 4:  # somebody who only looks holds it for less than a moment
                    time.sleep(0.05)
                    continue
                file.seek(0)
                holder = _describe(file.read())
                raise InputError(
                    str(folder), found=f"another build of it ({holder})", expected="one build per run folder at a time"
                ) from None
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.truncate(0)
        file.write(json.dumps(mine))
        file.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a living process builds in this folder."""
    try:
        with (folder / ".lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _describe(holder: str) -> str:
    try:
        fields = json.loads(holder)
        return f"pid {fields['pid']} on {fields['host']}, since {fields['started']}"
    except (ValueError, KeyError):
        return "its name is not written yet"
