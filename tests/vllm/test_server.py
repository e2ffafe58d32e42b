"""The real server dies and comes back, and outlives nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefloom.flows.engines.vllm import guardian
from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.schemas.errors import InputError
from tests.flows.engines.test_vllm_server import BUILD, ask, runs
from tests.vllm.conftest import settings


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    found = [root]
    for pid, parent, _ in sorted(guardian.processes()):
        if parent in found:
            found.append(pid)
    return found


def our_own(guard: int) -> list[int]:
    """The guardian and its shadow."""
    return [pid for pid in family(guard) if b"guardian.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def all_gone(pids: list[int], within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(runs, pids))


def test_a_killed_server_comes_back_under_its_address(vllm: VllmServer) -> None:
    url, before = vllm.ensure(), vllm.restarts
    assert vllm._process
    processes = family(vllm._process.pid)
    assert len(processes) >= 5  # guardian, shadow, API server, engine, worker
    ours = our_own(vllm._process.pid)
    (serve,) = (pid for pid, parent, _ in guardian.processes() if parent == vllm._process.pid and pid not in ours)
    os.kill(serve, signal.SIGKILL)
    assert all_gone(processes)
    assert vllm.ensure() == url
    assert vllm.restarts == before + 1
    assert ask(vllm, "/v1/models")["data"][0]["id"] == "tiny"


def test_nothing_outlives_a_killed_build(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILD, settings().model_dump_json(), str(tmp_path / "log")]
    build = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "log"
    deadline = time.monotonic() + 400  # until the engine loads: its worker has a process then
    while "Worker" not in (log.read_text() if log.exists() else "") and time.monotonic() < deadline and build.poll() is None:
        time.sleep(0.1)
    processes = family(build.pid)
    assert len(processes) >= 6  # the build, the guardian, its shadow, API server, engine, worker
    build.kill()
    build.communicate()
    assert all_gone(processes)


def test_a_refused_start_says_why(tmp_path: Path) -> None:
    server = VllmServer(settings(arguments=["--no-such-option"]), "tiny", tmp_path / "log")
    with pytest.raises(InputError, match=r"unrecognized arguments: --no-such-option"):
        server.start()
