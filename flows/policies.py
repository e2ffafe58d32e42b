"""Every orchestration knob, in one table.

| knob            | value                    | why                                                                                       |
|-----------------|--------------------------|-------------------------------------------------------------------------------------------|
| task            | one shard of one stage   | a task run that does nothing costs 4-12 ms; a row must not be a task                      |
| task runner     | threads, `run.workers`   | engines wait on a network or release the interpreter in polars and pyarrow                |
| retries         | none                     | what can heal is retried at the model call; any other fault would only fail again         |
| caching         | none                     | stage folders and the journal know what is done, also on another machine                  |
| results         | not persisted            | tasks pass paths and counts; the rows are on disk                                         |
| server          | PREFECT_API_URL if set,  | a build needs no standing server; see local_server.py                                     |
|                 | else one for this build  |                                                                                           |
"""

import os
from typing import Any

# For the process and the server it starts: quiet, and nothing leaves the machine.
ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
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


def task_runner(workers: int) -> Any:
    """Where tasks run."""
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=workers)
