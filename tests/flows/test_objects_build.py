"""A build on an object store: killed and continued, one build at a time, the same bytes as on disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from prefloom.flows.dataset import executions, manifest
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from tests.command import SMALL, prefloom


def start(out: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "prefloom.flows.cli", "build", *SMALL, "--out", out]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_then_begun_twice_at_once(bucket: str, small: Path) -> None:
    here, out = Store(str(small)), f"{bucket}/out"
    run = Run(f"{out}/runs/{small.name}")
    journal = run.journal(manifest.load(here).models["judge"])
    build = start(out)
    while build.poll() is None and not journal.store.list("*"):
        time.sleep(0.05)
    os.kill(build.pid, signal.SIGKILL)
    build.communicate()
    assert not run.store.exists("judgements/_stage.json")
    assert run.store.list(".lock/*") == [".lock/000001.json"], "nobody has given it back"
    held = sum(journal.glance().scopes().values())

    both = [start(out), start(out)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), said  # the second may have come when all was done
    assert codes == [0, 0] or any("another build of it (pid" in text for text in said), said

    assert run.store.read("manifest.json") == (small / "manifest.json").read_bytes()
    assert [check.name for check in validate(run.store) if check.problems] == []
    assert run.store.list(".lock/*") == []
    assert Store(f"{out}/journal").list("*/open-*") == []
    judged = [one.stages["judgements"].asked for one in executions.read(run.store) if "judgements" in one.stages]
    calls = executions.read(here)[0].stages["judgements"].asked
    assert held > 0
    assert judged == [calls - held], "nothing is paid for twice"
    assert "already built" in prefloom("build", *SMALL, "--out", out).stdout
    assert "last build: built" in prefloom("watch", run.url).stderr
