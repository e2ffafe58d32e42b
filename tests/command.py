"""The console command in a process of its own that has its imports behind it: a build starts in a moment, and not in three seconds.

    done = prefloom("build", *SMALL, "--out", str(tmp_path), "--json")   ->  CompletedProcess(returncode=0, stdout='{"dataset": …}', …)

What a start with all its imports does, or what ends a process from outside, is tried on `python -m prefloom.flows.cli` itself.
"""

import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from prefloom.flows import cli

SMALL = ["demo", "--set", "personas.0.count=30", "--set", "prompts.0.count=20", "--set", "run.report=false"]
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.command", "prefloom.flows.build"])  # it starts at the first call, in a session whose server is up


def prefloom(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command with these arguments. AssertionError with all it said if it ends with another code than 0, unless told not to."""
    with tempfile.TemporaryDirectory(prefix="prefloom-command-") as scratch:
        said = [f"{scratch}/stdout", f"{scratch}/stderr"]
        process = _FORKS.Process(target=_main, args=(arguments, said, dict(os.environ), str(Path.cwd())))
        process.start()
        process.join()
        stdout, stderr = (Path(name).read_text() for name in said)
    if check and process.exitcode:
        raise AssertionError(f"exit {process.exitcode}\n{stdout}\n{stderr}")
    return subprocess.CompletedProcess(["prefloom", *arguments], process.exitcode or 0, stdout, stderr)


def _main(arguments: tuple[str, ...], said: list[str], environment: dict[str, str], folder: str) -> None:
    for stream, name in zip((1, 2), said, strict=True):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["prefloom", *arguments]
    cli.main()
