"""run.json: every execution of a build, how far it got, what it asked. About the run, not part of the dataset, and never hashed.

    {"executions": [{"command": "prefloom build demo", "started": "2026-11-20T17:00:01+0000", "host": "h", "pid": 4711, …,
      "status": "built", "stages": {"judgements": {"considered": 78596, "kept": 78293, "asked": 78596, "from_journal": 0, …}}}]}

Written when an execution starts, after each stage, and at its end; one that was killed keeps the status "running". What it had asked in
the stage that it did not finish stands in the journal, call by call.
"""

import json
import os
import socket
import time
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store

NAME = "run.json"
_LOG = TypeAdapter(dict[str, list[dict[str, Any]]])


def begin(run: Run, command: str) -> None:
    """Append an entry for the execution that starts now, by `command`. The caller holds the run lock."""
    entry = {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cpus": os.cpu_count(),
        "workers": run.resolved.recipe.run.workers,
        "status": "running",
        "stages": {},
    }
    _write(run, [*read(run.store), entry])


def note_stage(run: Run, stage: str, report: dict[str, Any]) -> None:
    """Add a finished stage to the last entry."""
    entries = read(run.store)
    entries[-1]["stages"][stage] = report
    _write(run, entries)


def end(run: Run, status: str) -> None:
    """Close the last entry: built, failed or interrupted."""
    entries = read(run.store)
    entries[-1] |= {"status": status, "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    _write(run, entries)


def read(store: Store) -> list[dict[str, Any]]:
    """All executions so far, the oldest first."""
    try:
        return _LOG.validate_json(store.read(NAME))["executions"]
    except (FileNotFoundError, ValidationError, KeyError):
        return []  # a damaged log of timings is no reason not to build


def _write(run: Run, entries: list[dict[str, Any]]) -> None:
    text = json.dumps({"executions": entries}, indent=1).encode()
    run.store.publish(NAME, lambda file: file.write(text))
