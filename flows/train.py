"""A trainer of your own, started on a dataset that was published: its lines go to the run's page, its exit code decides.

    train("me/demo", "5e1f…", ["python", "train.py", "--data", "{repo_id}", "--revision", "{revision}"])

A published dataset emits the event `prefloom.dataset.published`; the deployment of this flow listens for it (prefect.yaml, serve.py).
The command is a list, which no shell reads. It gets this process's environment (HF_ENDPOINT, HF_TOKEN, CUDA_VISIBLE_DEVICES, …) and ends
with the run: cancelled or killed, nothing that it has started stays (engines/vllm/guardian.py).
"""

import io
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from prefloom.flows.engines.vllm import guardian
from prefloom.schemas.errors import InputError
from prefloom.schemas.texts import short, visible

GRACE = 20.0  # seconds from SIGTERM to SIGKILL: less than the 30 that Prefect gives us, and time to write a checkpoint
_LINE = 2_000  # characters
_NAMES = re.compile(r"\w[\w./-]*")  # nothing that a command could take for an option
_QUIET = {"TQDM_MININTERVAL": "10", "PYTHONUNBUFFERED": "1"}  # a progress bar is a line each time that it moves

logger = logging.getLogger("prefloom")


@flow(name="train", flow_run_name="train on {repo_id}", persist_result=False)
def train(repo_id: str, revision: str, command: list[str], dataset: str = "") -> State[None]:
    """Run a training command on a published dataset. The run fails if the command does.

    Args:
        repo_id: Dataset repository on the Hugging Face Hub.
        revision: Commit or tag to train on.
        command: What to run, word by word; {repo_id}, {revision} and {dataset} stand for what was published.
        dataset: Name of the run that was published.
    """
    words = fill(command, {"repo_id": repo_id, "revision": revision, "dataset": dataset})
    logger.setLevel(logging.INFO)  # onto the page of the run
    logger.info("%s", visible(shlex.join(words)))
    began = time.monotonic()
    code, said = run(words)
    if code:
        found = f"exit code {code} of `{words[0]}`" + (f": {said}" if said else "")
        raise InputError("command", found=found, expected="a trainer that ends with 0; its lines are in the log of this run")
    return Completed(message=f"trained on {repo_id} at {revision} in {time.monotonic() - began:.0f} s" + (f": {said}" if said else ""))


def fill(command: Sequence[str], values: dict[str, str]) -> list[str]:
    """The command with its placeholders filled in. InputError for a value that no repository, commit or run is called."""
    for name, value in values.items():
        if not _NAMES.fullmatch(value) and (value or f"{{{name}}}" in " ".join(command)):
            raise InputError(name, found=repr(value), expected="letters, digits, and . _ - / between them")
    if not command or not shutil.which(command[0]):
        raise InputError("command", found=repr(command[0]) if command else "nothing", expected="a program that is there, and its arguments")
    return [re.sub(r"\{(repo_id|revision|dataset)\}", lambda found: values[found[1]], word) for word in command]


def run(command: Sequence[str]) -> tuple[int, str]:
    """Run it to its end, its lines into the log; (exit code, its last line). It does not outlive this process."""
    process = subprocess.Popen(  # noqa: S603 - the user's own command
        [sys.executable, "-I", "-S", guardian.__file__, "/proc/self/fd/2", str(GRACE), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_QUIET | os.environ,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    last = ""
    with io.TextIOWrapper(process.stderr, errors="replace") as lines:
        try:
            for text in _logged(lines):
                last = text
            return process.wait(), short(last)
        finally:
            process.stdin.close()  # its guardian ends it, with all its children
            for _ in _logged(lines):  # what it has to say while it writes a checkpoint
                pass
            process.stdout.read()  # until all are gone
            process.wait()


def _logged(lines: io.TextIOWrapper) -> Iterator[str]:
    while line := lines.readline(_LINE):
        if text := visible(line.rstrip()):
            logger.info("%s", text)
            yield text
