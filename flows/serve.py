"""A recipe on a schedule, served by this process: it waits, and runs every night in a process of its own.

    serve(Plan(recipe="demo", cron="0 3 * * *", grow="personas.0.count=+50", repo_id="me/demo", train=["python", "train.py", "{repo_id}"]))

Two deployments appear on the Prefect server that PREFECT_API_URL names: `nightly/<recipe>` with the schedule and, with a command to
train, `train/<recipe>`, which the event of a published dataset starts. One night at a time: a night that is due while another
runs is cancelled. When the process ends the schedule is paused; the deployments stay on the server until they are deleted.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
from huggingface_hub import get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from prefect import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.runner import Runner
from prefect.schedules import Cron, Interval
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from prefloom.flows.dataset.licences import settle
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.nightly import nightly
from prefloom.flows.publish import EVENT
from prefloom.flows.steps.growth import Growth
from prefloom.flows.train import fill, train
from prefloom.schemas.errors import InputError, reason
from prefloom.schemas.recipe import Resolved

FROM_EVENT = {name: f"{{{{ event.payload.{name} }}}}" for name in ("repo_id", "revision", "dataset")}
_WAYS = "`prefect server start` in another terminal, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`"


@dataclass(frozen=True)
class Plan:
    """What is done each night, and when: by a cron line, or every so many seconds."""

    recipe: str
    out: str = "data"
    overrides: Sequence[str] = ()
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    grow: str | None = None
    at_most: int | None = None
    repo_id: str | None = None
    public: bool = False
    train: Sequence[str] = ()

    def checked(self) -> "Plan":
        """InputError for what would go wrong in every night: better now than at three in the morning."""
        resolved = resolve(self.recipe, self.overrides)
        if self.grow:
            Growth.parse(self.grow, self.at_most).value(resolved.recipe)
        elif self.at_most:
            raise InputError("--at-most", found="no --grow", expected="what grows until then")
        if self.repo_id:
            self._expect_publishable(resolved, self.repo_id)
        if self.train and not self.repo_id:
            raise InputError("--train", found="no --repo-id", expected="a repository that is trained on")
        if self.train:
            fill(self.train, {"repo_id": str(self.repo_id), "revision": "main", "dataset": resolved.recipe.name})
        self.schedule()
        return self

    def _expect_publishable(self, resolved: Resolved, repo_id: str) -> None:
        try:
            validate_repo_id(repo_id)
        except HFValidationError as error:
            raise InputError("--repo-id", found=reason(error), expected="owner/name") from None
        if not get_token():
            raise InputError("HF_TOKEN", found="no token for the Hub", expected="one that may write, or `hf auth login`")
        terms = settle(resolved)
        if against := terms.forbidden or (terms.objections if self.public else []):
            raise InputError(self.recipe, "licences", found="; ".join(against), expected="sources that may be published")

    @property
    def name(self) -> str:
        """Of its deployments: that of the recipe."""
        return resolve(self.recipe, self.overrides).recipe.name

    @property
    def automation(self) -> str:
        """Name of what starts a training, which outlives its deployment."""
        return f"train on {self.repo_id} when it is published"

    def schedule(self) -> Any:
        """For Prefect. InputError for a cron line or a time zone that is none."""
        if (self.cron is None) == (self.every is None):
            raise InputError(
                "command line", found="--cron and --every" if self.cron else "neither --cron nor --every", expected="one of them"
            )
        try:
            if self.every is not None:
                return Interval(timedelta(seconds=self.every))
            if len((self.cron or "").split()) > 5:
                raise ValueError(f"'{self.cron}', with more than five fields")
            return Cron(self.cron or "", timezone=str(ZoneInfo(self.timezone)))
        except OverflowError:
            raise InputError("--every", found=f"{self.every:g} seconds", expected="a time that comes") from None
        except (ValueError, OSError, KeyError) as error:
            found = str(error) if isinstance(error, ValueError) else f"the time zone '{self.timezone}'"
            raise InputError(
                "--cron", found=found, expected='five fields such as "0 3 * * *", and a time zone such as Europe/Berlin'
            ) from None

    def deployments(self) -> Iterator[RunnerDeployment]:
        """What appears on the server."""
        recipe = str(Path(self.recipe).resolve()) if Path(self.recipe).is_file() else self.recipe
        chosen = {
            "overrides": [*self.overrides],
            "grow": self.grow,
            "at_most": self.at_most,
            "repo_id": self.repo_id,
            "public": self.public,
        }
        nights = nightly.to_deployment(
            self.name,
            schedules=[self.schedule()],
            parameters={"recipe": recipe, "out": str(Path(self.out).resolve())} | {key: value for key, value in chosen.items() if value},
            description=f"Builds `{self.name}`" + (f", with {self.grow} each night" if self.grow else "") + _to(self.repo_id),
            tags=["prefloom", self.name],
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        yield cast(RunnerDeployment, nights)
        if self.train:
            trigger = DeploymentEventTrigger(
                name=self.automation,
                expect={EVENT},
                match={"prefect.resource.id": f"prefloom.dataset.{self.repo_id}"},
                parameters=FROM_EVENT,
            )
            trainings = train.to_deployment(
                self.name,
                triggers=[trigger],
                parameters={"command": [*self.train]},
                description=f"Trains on `{self.repo_id}` whenever a new version of it is published",
                tags=["prefloom", self.name],
                concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            yield cast(RunnerDeployment, trainings)


def _to(repo_id: str | None) -> str:
    return f", and publishes it as `{repo_id}`" if repo_id else ""


def expect_server() -> str:
    """The API of the user's Prefect server. InputError where there is none, or where it does not answer."""
    url = get_current_settings().api.url
    if not url:
        raise InputError("PREFECT_API_URL", found="nothing", expected=f"a Prefect server that stays: {_WAYS}")
    try:
        with get_client(sync_client=True) as client:
            client.hello().raise_for_status()
    except (httpx.HTTPError, RuntimeError) as error:
        raise InputError("PREFECT_API_URL", found=f"{url}: {reason(error)}", expected=f"a Prefect server that answers: {_WAYS}") from None
    return url


def serve(plan: Plan) -> None:
    """Put the deployments on the server and run what is due, until a signal comes; then nothing of it runs any more."""
    expect_server()
    runner = Runner(limit=None)
    for deployment in plan.deployments():
        runner.add_deployment(deployment)
    # Prefect's own answer to SIGTERM leaves what runs as it is, and its answer to Ctrl-C kills it without a word to the server.
    setattr(runner, "handle_sigterm", lambda *_: os.kill(os.getpid(), signal.SIGINT))  # noqa: B010
    # A terminal sends Ctrl-C to tonight's process too, which shall be cancelled and not torn: it inherits that this thread blocks it.
    threading.Thread(target=threading.Event().wait, name="prefloom-signals", daemon=True).start()  # one there has to be that takes it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with suppress(KeyboardInterrupt):  # the second Ctrl-C, for whom it takes too long
        asyncio.run(_until_told(runner))


async def _until_told(runner: Runner) -> None:
    loop, stopping = asyncio.get_running_loop(), []

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stopping.append(loop.create_task(runner.astop()))  # cancels tonight's run: its build ends with the calls that are in flight

    loop.add_signal_handler(signal.SIGINT, stop)
    await runner.start()
