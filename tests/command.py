"""The console command in a process of its own that has its imports behind it: a build starts in a moment, and not in three seconds.

    done = prefloom("build", *SMALL, "--out", str(tmp_path), "--json")   ->  CompletedProcess(returncode=0, stdout='{"dataset": …}', …)

What a start with all its imports does, or what ends a process from outside, is tried on `python -m prefloom.flows.cli` itself.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from prefloom.flows import cli, policies

SMALL = ["demo", "--set", "personas.0.count=30", "--set", "prompts.0.count=20", "--set", "run.report=false"]
_FORKS = get_context("forkserver")
# It starts at the first call, in a session whose Prefect server is up.
_FORKS.set_forkserver_preload(
    ["tests.command", "tests.kill.driver", "prefloom.flows.build", "prefloom.flows.dataset.validate", "prefloom.flows.steps.audit"]
)


def prefloom(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command with these arguments. AssertionError with all it said if it ends with another code than 0, unless told not to."""
    done = in_fork(_prefloom, *arguments)
    if check and done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextmanager
def shared_prefect() -> Iterator[None]:
    """One Prefect server for all builds of this process and of those that it starts, unless the environment names one."""
    if "PREFECT_API_URL" in os.environ:
        yield
        return
    policies.apply_environment()
    from prefect.settings import get_current_settings

    from prefloom.flows.local_server import local_server

    with local_server():
        os.environ["PREFECT_API_URL"] = str(get_current_settings().api.url)
        yield
        del os.environ["PREFECT_API_URL"]


def in_fork(main: Callable[..., None], *arguments: str, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    """Call a function of a module, in a process of its own. `returncode` is negative if a signal ended it."""
    with tempfile.TemporaryDirectory(prefix="prefloom-command-") as scratch:
        said = [f"{scratch}/stdout", f"{scratch}/stderr"]
        process = _FORKS.Process(target=_run, args=(main, arguments, said, dict(environment), str(Path.cwd())))
        process.start()
        process.join()
        stdout, stderr = (Path(name).read_text() for name in said)
    return subprocess.CompletedProcess([main.__name__, *arguments], process.exitcode or 0, stdout, stderr)


def _run(main: Callable[..., None], arguments: tuple[str, ...], said: list[str], environment: dict[str, str], folder: str) -> None:
    for stream, name in zip((1, 2), said, strict=True):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    main(*arguments)


def _prefloom(*arguments: str) -> None:
    sys.argv = ["prefloom", *arguments]
    cli.main()
