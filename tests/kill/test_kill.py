"""A killed build, continued, is the same build. The whole matrix runs here: about three minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(1800)
def test_a_build_killed_everywhere_ends_byte_identical() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "tests.kill.matrix"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED: byte-identical, no row lost, no process left" in done.stdout
