"""One build per run folder, and no lock outlives its holder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefloom.flows.dataset.lock import run_lock
from prefloom.schemas.errors import InputError

HOLD = """
import sys, pathlib
from prefloom.flows.dataset.lock import run_lock
with run_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_a_dead_holder_is_forgotten(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"another build of it \\(pid {holder.pid} on .*since 20"), run_lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with run_lock(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()
