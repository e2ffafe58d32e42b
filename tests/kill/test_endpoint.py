"""A build whose server is killed, alone or with the build, ends as if nothing had been. Four kills; `-m tests.kill.endpoint` does more."""

import subprocess
import sys
from pathlib import Path


def test_a_killed_server_costs_what_was_in_flight() -> None:
    size = ["--points", "2", "--personas", "12", "--prompts", "12", "--latency", "0.03", "--concurrency", "8"]
    command = [sys.executable, "-m", "tests.kill.endpoint", "--what", "server", "both", *size]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED: byte-identical, no call lost, none repeated that was not in flight" in done.stdout
