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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                str(folder), found=f"another build of it ({_describe(file.read())})", expected="one build per run folder at a time"
            ) from None
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        yield


def _describe(holder: str) -> str:
    try:
        fields = json.loads(holder)
        return f"pid {fields['pid']} on {fields['host']}, since {fields['started']}"
    except (ValueError, KeyError):
        return "its name is not written yet"
