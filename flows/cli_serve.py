"""The command that puts a recipe on a schedule.

prefloom serve demo --cron "0 3 * * *" --timezone Europe/Berlin --grow personas.0.count=+50 --repo-id me/demo
"""

import os
import shlex
from typing import Annotated

import typer

from prefloom.flows.cli_common import AsJson, Out, Overrides, RecipeName, folder, say
from prefloom.schemas.errors import InputError, reason


def serve(
    recipe: RecipeName,
    out: Out = "data",
    set_: Overrides = None,
    cron: Annotated[str | None, typer.Option("--cron", metavar="LINE", help='When: five fields, such as "0 3 * * *".')] = None,
    every: Annotated[float | None, typer.Option("--every", metavar="SECONDS", min=1, help="Or how often, from now on.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="Of --cron, such as Europe/Berlin.")] = "UTC",
    grow: Annotated[str | None, typer.Option("--grow", metavar="PATH=+STEP", help="More each night: personas.0.count=+50.")] = None,
    at_most: Annotated[int | None, typer.Option("--at-most", min=1, help="Where growing ends.")] = None,
    repo_id: Annotated[str | None, typer.Option("--repo-id", help="Publish to this dataset repository, such as me/demo.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    train: Annotated[str | None, typer.Option("--train", metavar="COMMAND", help="Run this on every version that is published.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build a recipe on a schedule, until Ctrl-C.

    Each night is a run on your Prefect server (PREFECT_API_URL): build, with more personas or prompts than the last time if --grow says
    so, publish if there is a repository, and train if there is a command, in which {repo_id}, {revision} and {dataset} are filled in. What
    was judged before comes from the journal. A night that was killed is gone on with at its size, and no two run at the same time.

    \b
      prefect server start                                            in another terminal
      export PREFECT_API_URL=http://127.0.0.1:4200/api
      prefloom serve demo --cron "0 3 * * *" --grow personas.0.count=+50 --repo-id me/demo \\
          --train "python train.py {repo_id} {revision}"
    """
    folder(out)
    from prefloom.flows import policies

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")  # nobody looks on: what goes wrong has to be written down
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    policies.apply_environment()
    from prefloom.flows.serve import Plan, expect_server
    from prefloom.flows.serve import serve as run

    try:
        words = shlex.split(train) if train else []
    except ValueError as error:
        raise InputError("--train", found=reason(error), expected="a command as a shell would read it") from None
    plan = Plan(recipe, out, set_ or [], cron, every, timezone, grow, at_most, repo_id, public, words).checked()
    url = expect_server()
    named = [f"nightly/{plan.name}", *([f"train/{plan.name}"] if words else [])]
    when = f"every {every:g} s" if every else f"{cron} ({timezone})"
    say(
        as_json,
        {"deployments": named, "server": url, "schedule": when},
        f"serving {' and '.join(named)} on {url}: {when}\nat once: prefect deployment run {named[0]}\nCtrl-C stops and pauses the schedule",
    )
    run(plan)
    removal = [f"prefect deployment delete {name}" for name in named] + [f"prefect automation delete '{plan.automation}'"] * bool(words)
    lines = "".join(f"\n  {line}" for line in removal)
    say(as_json, {"stopped": named, "removal": removal}, f"stopped; what it made stays on the server, paused. To remove it:{lines}")
