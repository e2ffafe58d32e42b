"""Every orchestration knob, in one table.

| knob            | value                    | why                                                                                       |
|-----------------|--------------------------|-------------------------------------------------------------------------------------------|
| task            | one shard of one stage   | a task run that does nothing costs 4-12 ms; a row must not be a task                      |
| task runner     | threads, `run.workers`,  | engines wait on a network or release the interpreter in polars and pyarrow;               |
|                 | or Ray (`run.runner`)    | Ray (prefect-ray) where one machine is not enough: one shard a CPU, spread over the nodes |
| retries         | none                     | what can heal is retried at the model call; any other fault would only fail again         |
| lost workers    | Ray starts a shard anew, | of a node that died; what its shards had asked is in the journal, what they had           |
|                 | `LOST_WORKERS` times     | published is on disk                                                                      |
| caching         | none                     | stage folders and the journal know what is done, also on another machine                  |
| results         | not persisted            | tasks pass paths and counts; the rows are on disk                                         |
| server          | PREFECT_API_URL if set,  | a build needs no standing server; see local_server.py                                     |
|                 | else one for this build  |                                                                                           |
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Run

LOST_WORKERS = 5

# For the process and the server it starts: quiet, and nothing leaves the machine.
ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # a build that is refused ends before Prefect has sent its events; that is no error
    "PREFECT_LOGGING_EXTRA_LOGGERS": "prefloom",  # our own lines, and only they, stand on the page of a run
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def apply_environment() -> None:
    """Set what the user has not set. Must come before Prefect is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def task_options() -> dict[str, Any]:
    """Options of every task."""
    from prefect.cache_policies import NO_CACHE

    return {"retries": 0, "cache_policy": NO_CACHE, "persist_result": False}


def is_remote(run: Run) -> bool:
    """Whether shards are worked on by other processes, maybe of other machines."""
    return run.runner == "ray"


def task_runner(run: Run) -> Any:
    """Where tasks run. InputError if Ray is wanted and not there."""
    if not is_remote(run):
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=run.workers)
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise InputError("recipe", "run.runner", found="ray, which is not installed", expected="pip install 'prefloom[ray]'") from None
    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    return RayTaskRunner(address=address, init_kwargs=quiet if address else quiet | {"include_dashboard": False})


def placement(run: Run) -> AbstractContextManager[Any]:
    """How shards are submitted inside it. InputError if machines of the Ray cluster cannot reach Prefect's server."""
    if not is_remote(run):
        return nullcontext()
    import ray
    from prefect.settings import get_current_settings
    from prefect_ray.context import remote_options

    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    machines = {node["NodeManagerAddress"] for node in nodes() if node["Alive"]}
    if len(machines) > 1 and urlsplit(get_current_settings().api.url or "").hostname in ("localhost", "127.0.0.1"):
        expected = f"a Prefect server that all {len(machines)} machines of the Ray cluster reach"
        raise InputError("PREFECT_API_URL", found="this machine's own", expected=expected)
    options: AbstractContextManager[Any] = remote_options(num_cpus=1, max_retries=LOST_WORKERS, scheduling_strategy="SPREAD")
    return options
