"""A trainer is started on what was published, its lines are kept, and nothing of it outlives the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefloom.flows.train import fill, run, train
from prefloom.schemas.errors import InputError

VALUES = {"repo_id": "me/prefs", "revision": "5e1f00", "dataset": "demo-b10794099e1f"}


def test_placeholders_are_filled_in_and_nothing_else() -> None:
    words = fill([sys.executable, "--data={repo_id}@{revision}", "{dataset}", '{"lr": 0.1}', "{other}", "a b; rm -rf $HOME"], VALUES)
    assert words[1:] == ["--data=me/prefs@5e1f00", "demo-b10794099e1f", '{"lr": 0.1}', "{other}", "a b; rm -rf $HOME"]


@pytest.mark.parametrize("value", ["--trust-remote-code", "-rf", "me/prefs --lr 9", "{revision}", "me\nprefs"])
def test_an_event_cannot_slip_in_an_option(value: str) -> None:
    with pytest.raises(InputError, match="repo_id: found"):
        fill([sys.executable, "{repo_id}"], VALUES | {"repo_id": value})


@pytest.mark.parametrize("command", [[], ["no-such-program"]])
def test_a_program_has_to_be_there(command: list[str]) -> None:
    with pytest.raises(InputError, match="command: found"):
        fill(command, VALUES)


def test_lines_are_logged_as_they_come(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "prefloom")
    script = "import sys; sys.stderr.write('\\r 1/2\\r 2/2\\n'); print('\\x1b[31mred', flush=True); sys.exit(3)"
    assert run([sys.executable, "-c", script]) == (3, "\\x1b[31mred")
    assert caplog.messages == [" 1/2", " 2/2", "\\x1b[31mred"]


def test_a_trainer_that_fails_fails_the_run() -> None:
    with pytest.raises(InputError, match=r"command: found exit code 4 of `.*`: no data; expected a trainer that ends with 0"):
        train("me/prefs", "5e1f00", [sys.executable, "-c", "print('no data'); raise SystemExit(4)"])


STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "300"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
signal.signal(signal.SIGTERM, lambda *_: print("checkpoint written", flush=True) or sys.exit(0))
time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_it_outlives_its_run(tmp_path: Path, number: int) -> None:
    """SIGTERM as Prefect sends it when a run is cancelled, and the SIGKILL that may follow."""
    pids = tmp_path / "pids"
    code = (
        "import logging, signal, sys; logging.basicConfig(level=20)\n"
        "def stop(*_): raise KeyboardInterrupt\nsignal.signal(signal.SIGTERM, stop)\n"
        "from prefloom.flows.train import run\nrun(sys.argv[1:])"
    )
    flow = subprocess.Popen([sys.executable, "-c", code, sys.executable, "-c", STUBBORN, str(pids)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().count(" ")) and time.monotonic() < deadline:
        time.sleep(0.1)
    flow.send_signal(number)
    said = flow.communicate(timeout=60)[1]
    left = [int(pid) for pid in pids.read_text().split()]
    while any(_lives(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in left if _lives(pid)]
    assert number == signal.SIGKILL or "checkpoint written" in said


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
