"""Keeps a server from outliving its build: runs it, and kills it with all its children when the build is gone.

    python -I -S guardian.py LOG GRACE vllm serve …        # standard input: a pipe that only the build holds

vLLM starts processes of its own, which hold the GPU, and a SIGKILL of the build leaves them behind. The guardian starts the server in a
process group of its own and waits. The pipe closes (or the build is no longer its parent), the server exits, or the guardian gets a
SIGTERM: in every case the whole group goes, SIGTERM first and SIGKILL after GRACE seconds, with whatever has left the group.
"stop N" on the pipe does the same with N seconds of grace. The guardian exits with the server's exit code (128 + n for signal n).

The guardian may be killed too. The server then gets the kernel's parent-death signal, and a second process, the shadow, kills the group.
That signal follows the thread that forked, and a build has many that end: so the guardian forks from its only thread.
Standard output is another pipe, held by the guardian and its shadow alone: it closes when everything is gone.

Run as a script, so that nothing but the standard library is imported: it must start at once and weigh nothing. Linux only.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_TICK = 0.1
_TIDYING = 1.0  # seconds that the server's children have after it, and then Python's keeper of shared memory after them
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl


def guard(log: Path, grace: float, command: list[str]) -> int:
    """Run the command until it ends or nobody wants it any more; its exit code."""
    build, asked = os.getppid(), signal_flag()
    _PRCTL(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # children that leave the group, or lose their parent, become ours
    me = os.getpid()

    def die_with_guardian() -> None:
        _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != me:
            os._exit(1)

    with log.open("ab") as output:
        try:
            server = subprocess.Popen(  # noqa: S603 - the user's own server
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=die_with_guardian,
            )
        except OSError as error:
            output.write(f"{error}\n".encode())
            return 127
    shadow = start_shadow(server.pid, me)
    try:
        while server.poll() is None and not asked and os.getppid() == build:
            if select.select([0], [], [], _TICK)[0]:
                if said := os.read(0, 64).split():
                    grace = float(said[1])
                break
    finally:
        code = end(server, grace, shadow)
        os.kill(shadow, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def signal_flag() -> list[int]:
    """A list that a SIGTERM fills."""
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # is for the build, which then tells us
    return seen


def end(server: "subprocess.Popen[bytes]", grace: float, shadow: int) -> int:
    """Stop the group and every process that descends from it; the server's exit code."""
    me, deadline = os.getpid(), time.monotonic() + grace
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(_TICK)
    deadline, told = min(deadline, time.monotonic() + _TIDYING), set[int]()
    while left := [(pid, group) for pid, parent, group in processes() if (group == server.pid or parent == me) and pid != shadow]:
        late = time.monotonic() - deadline
        for pid, group in left:
            if late > _TIDYING or (late > 0 and not keeps_memory(pid)):
                tell(pid, signal.SIGKILL)
            elif group != server.pid and pid not in told:  # the group has been told
                told.add(pid)
                tell(pid, signal.SIGTERM)
        time.sleep(_TICK / 4)
    return server.wait()


def tell(pid: int, number: int) -> None:
    """Send a signal to a process that may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def keeps_memory(pid: int) -> bool:
    """Whether it is multiprocessing's tracker, which unlinks the others' shared memory as soon as they are gone: vLLM has 160 MB of it."""
    with suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def start_shadow(group: int, guardian: int) -> int:
    """A process that kills the group when the guardian is gone without having done so; its pid."""
    if pid := os.fork():
        return pid
    os.setsid()  # a signal for the guardian's group is not for its shadow
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == guardian:
        time.sleep(_TICK)
    while any(belongs == group for _, _, belongs in processes()):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        time.sleep(_TICK / 4)
    os._exit(0)


def processes() -> list[tuple[int, int, int]]:
    """(pid, parent, group) of every process that still runs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            state, parent, group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
            if state not in "ZX":
                found.append((int(entry.name), int(parent), int(group)))
    return found


if __name__ == "__main__":
    sys.exit(guard(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
