"""One build per run folder. The lock dies with its process, however it dies.

    with run_lock(Path("data/runs/demo-3b9c…")) as check:
        …                    # a second build raises InputError: another build of it (pid 4711 on h, since …)
        check()              # InputError if it was lost meanwhile, as it can be on an object store (lease.py)

In a folder the kernel holds the lock (flock), the file beside it only says who the holder is.
"""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefloom.flows.dataset import lease
from prefloom.flows.dataset.store import Store, is_remote
from prefloom.schemas.errors import InputError


@contextmanager
def run_lock(run: Path | str, lost: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold the lock of a run; InputError names the holder if another process has it. `lost` is called once it is not held any more."""
    if is_remote(str(run)):
        with lease.lease(Store(str(run)), lost) as check:
            yield check
        return
    folder = Path(run)
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
                holder = lease.describe(file.read())
                raise InputError(
                    str(folder), found=f"another build of it ({holder})", expected="one build per run folder at a time"
                ) from None
        file.truncate(0)
        file.write(json.dumps(lease.holder()))
        file.flush()
        yield lambda: None  # the kernel lets nobody else have it


def is_held(run: Path | str) -> bool:
    """Whether a living process builds this run."""
    if is_remote(str(run)):
        return lease.is_held(Store(str(run)))
    try:
        with (Path(run) / ".lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
