"""run.json: every execution of a build, how far it got, what it asked. About the run, not part of the dataset, and never hashed.

    {"executions": [{"command": "prefloom build demo", "started": "2026-11-20T17:00:01+0000", "host": "h", "pid": 4711, …,
      "status": "built", "stages": {"judgements": {"considered": 78596, "kept": 78293, "asked": 78596, "from_journal": 0, …}}}]}

Written when an execution starts, after each stage, and at its end; one that was killed keeps the status "running". What it had asked in
the stage that it did not finish stands in the journal, call by call.
"""

import os
import socket
import time
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.schemas.usage import Prefill

NAME = "run.json"


class Execution(BaseModel):
    """One start of a build, until it ended or was killed."""

    command: str
    started: str
    host: str
    pid: int
    cpus: int | None
    workers: int
    status: str = "running"  # then built, failed or interrupted
    ended: str | None = None
    stages: dict[str, ShardReport] = {}  # those that it finished
    prefill: dict[str, dict[str, Prefill]] = {}  # stage -> model -> prompt tokens that its servers say they computed and reused


class _Log(BaseModel):
    executions: list[Execution] = []


def begin(run: Run, command: str) -> None:
    """Append an entry for the execution that starts now, by `command`. The caller holds the run lock."""
    workers = run.resolved.recipe.run.workers
    entry = Execution(command=command, started=_now(), host=socket.gethostname(), pid=os.getpid(), cpus=os.cpu_count(), workers=workers)
    _write(run, [*read(run.store), entry])


def note_stage(run: Run, stage: str, report: ShardReport, prefill: Mapping[str, Prefill]) -> None:
    """Add a finished stage to the last entry."""
    entries = read(run.store)
    entries[-1].stages[stage] = report
    if prefill:
        entries[-1].prefill[stage] = dict(prefill)
    _write(run, entries)


def end(run: Run, status: str) -> None:
    """Close the last entry: built, failed or interrupted."""
    entries = read(run.store)
    entries[-1].status, entries[-1].ended = status, _now()
    _write(run, entries)


def read(store: Store) -> list[Execution]:
    """All executions so far, the oldest first; none if the log is damaged, which is no reason not to build."""
    try:
        return _Log.model_validate_json(store.read(NAME)).executions
    except (FileNotFoundError, ValidationError):
        return []


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _write(run: Run, entries: list[Execution]) -> None:
    text = _Log(executions=entries).model_dump_json(indent=1).encode() + b"\n"
    run.store.publish(NAME, lambda file: file.write(text))
