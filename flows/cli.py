"""The `prefloom` command. What is heavy is imported where it is used, so that help and errors come at once.

    prefloom build data/recipes/demo.yaml        prefloom validate data/runs/demo-…        prefloom show data/runs/demo-…

Exit codes: 0 done, 1 the dataset is not valid, 2 something the user can mend (one line says what and where).
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from prefloom.schemas.errors import InputError

app = typer.Typer(
    help="Turn a recipe into an audited dataset of who prefers what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a recipe that ships with prefloom (demo).")],
    out: Annotated[str, typer.Option(help="Folder that holds runs/ and journal/.")] = "data",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value, e.g. personas.0.count=250.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again for what an earlier build lost to failures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the dataset of a recipe; go on where an earlier build stopped."""
    started = time.time()
    from prefloom.flows.dataset.lock import run_lock
    from prefloom.flows.dataset.resolve import resolve
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.steps import plan

    if "://" in out:
        raise InputError("--out", found=out, expected="a local folder")
    run = Run.create(Path(out), resolve(recipe, set_ or ()))
    uses = plan.materials(run.resolved)
    if plan.is_finished(run, uses) and not (retry_failed and plan.has_failures(run)):
        _say(as_json, {"dataset": str(run.folder), "status": "already built"}, f"{run.folder} is already built; nothing to do")
        return
    _log_to_stderr(silent=as_json)
    with run_lock(run.folder):
        run.store.sweep()
        run.store_recipe()
        executed = _execute(run, retry_failed)
    executed |= {"dataset": str(run.folder), "status": "built", "seconds": round(time.time() - started, 1)}
    _record(run, executed)
    kept = ", ".join(f"{report['kept']} {name}" for name, report in executed["stages"].items() if name in ("labels", "preferences"))
    share = f"{executed['seconds'] - executed['work_seconds']:.1f} s of them orchestration"
    _say(as_json, executed, f"built {run.folder} in {executed['seconds']} s, {share}" + (f": {kept}" if kept else ""))


def _execute(run: Any, retry_failed: bool) -> dict[str, Any]:
    """Run the flow against a Prefect server that lives as long as the build; say what each stage did."""
    from dataclasses import asdict

    from prefloom.flows import policies
    from prefloom.flows.local_server import local_server

    policies.apply_environment()
    with local_server():
        from prefloom.flows.build import build_dataset

        runner = policies.task_runner(run.resolved.recipe.run.workers)
        done = build_dataset.with_options(task_runner=runner)(str(run.folder), retry_failed)
    return {
        "stages": {name: asdict(report) for name, report in done.items()},
        "work_seconds": round(sum(report.ended - report.started for report in done.values()), 1),
    }


def _record(run: Any, executed: dict[str, Any]) -> None:
    """Append this execution to run.json: timings, usage, host. It is about the run, not part of the dataset, and never hashed."""
    import socket

    entries = json.loads(run.store.read("run.json"))["executions"] if run.store.exists("run.json") else []
    entries.append(executed | {"host": socket.gethostname(), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "cpus": os.cpu_count()})
    text = json.dumps({"executions": entries}, indent=1).encode()
    run.store.publish("run.json", lambda file: file.write(text))


@app.command()
def validate(
    dataset: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: AsJson = False,
) -> None:
    """Check a dataset: files, schemas, closed accounting, disjoint splits, label invariants."""
    from prefloom.flows.dataset.store import Store
    from prefloom.flows.dataset.validate import validate as check

    results = check(Store(str(dataset)))
    failed = [result for result in results if result.problems]
    lines = [f"{'FAIL' if r.problems else 'ok':<5}{r.name}: {'; '.join(r.problems) or r.detail}" for r in results]
    verdict = f"{dataset} is NOT valid: {len(failed)} of {len(results)} checks failed" if failed else f"{dataset} is valid"
    report = {"dataset": str(dataset), "valid": not failed, "checks": [vars(result) for result in results]}
    _say(as_json, report, "\n".join([*lines, verdict]))
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    dataset: Annotated[Path, typer.Argument(help="A run folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many preferences.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show a few preferences: the person, the task, both answers, and how sure the label is."""
    from prefloom.flows.dataset.show import overview, sample, text
    from prefloom.flows.dataset.store import Store

    store = Store(str(dataset))
    report = overview(store) | {"preferences": sample(store, rows)}
    _say(as_json, report, text(report))


def _say(as_json: bool, value: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(value, ensure_ascii=True) if as_json else text) + "\n")


def _log_to_stderr(silent: bool) -> None:
    logger = logging.getLogger("prefloom")
    logger.setLevel(logging.CRITICAL if silent else logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("  %(message)s"))
        logger.addHandler(handler)


def main(run: Callable[[], Any] = app) -> None:
    """Console script: user errors become one line and exit code 2."""
    try:
        run()
    except InputError as error:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        sys.stderr.write(f"prefloom: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
