"""The `prefloom` command. What is heavy is imported where it is used, so that help and errors come at once.

    prefloom plan demo        prefloom build demo        prefloom validate data/runs/demo-…        prefloom show data/runs/demo-…

Exit codes: 0 done, 1 the dataset is not valid, 2 something the user can mend (one line says what and where), 130 interrupted.
"""

import gc
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from prefloom.flows.cli_common import AsJson, Dataset, Out, Overrides, RecipeName, say
from prefloom.flows.cli_measure import ablate, audit, calibrate
from prefloom.flows.cli_publish import diff, publish
from prefloom.flows.cli_serve import serve
from prefloom.schemas.errors import InputError
from prefloom.schemas.texts import short, visible

if TYPE_CHECKING:
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.dataset.shards import ShardReport

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_RESUME = "prefloom: that was a fault of prefloom, not of your input; what is done is kept in {}, and the same command goes on from there"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"prefloom {version('prefloom')}\n")
        raise typer.Exit


@app.callback()
def prefloom(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Turn a recipe into an audited dataset of who prefers what.

    A first dataset:

    \b
      prefloom plan demo           what it takes, before anything is spent
      prefloom build demo          builds it, or goes on where a build stopped
      prefloom report data/runs/demo-<fingerprint>

    Every command but watch takes --json. Exit codes: 0 done, 1 a dataset is not valid or prefloom is at fault, 2 something in your hands is
    wrong (one line says what and where), 130 interrupted.
    """


@app.command()
def plan(
    recipe: RecipeName,
    out: Out = "data",
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what a build takes, before anything is spent.

    Rows, calls, tokens, disk, time and money of each stage and model. Counts what can be counted, among it the calls that the journal
    holds already, and says of every other figure what it rests on. Time and money come from `rates` and `prices` in the recipe; without
    them they stay unknown, except that a free model's time is measured. Nothing is written and no model that costs anything is asked.
    """
    gc.disable()  # a second's work in which nothing has to be found and freed: a tenth of it would go into the search
    from prefloom.flows.dataset.resolve import resolve
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.steps.forecast import forecast, report
    from prefloom.flows.steps.forecast_text import text
    from prefloom.flows.steps.freshness import materials

    run = Run.create(out, resolve(recipe, set_ or ()))
    found = report(forecast(run, materials(run)), run.resolved.recipe)
    say(as_json, found, text(found, min(100, max(40, shutil.get_terminal_size((100, 24)).columns))))


@app.command()
def build(
    recipe: RecipeName,
    out: Out = "data",
    set_: Overrides = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again for what an earlier build lost to failures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a dataset, or go on where a build stopped.

    Whatever was asked before, by this build or another under the same folder, comes from the journal and is not asked again. On a
    terminal one table shows how far it is; elsewhere a line is printed when a stage ends. Prefect keeps the history: in a server of
    yours if PREFECT_API_URL is set, else in one that lives as long as the build.

    \b
      prefloom build my.yaml
      prefloom build my.yaml --set personas.0.count=250 --set run.workers=8
    """
    started = time.monotonic()
    from prefloom.flows.dataset import outcomes, stages
    from prefloom.flows.dataset.lock import run_lock
    from prefloom.flows.dataset.resolve import resolve
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.steps import freshness

    run = Run.create(out, resolve(recipe, set_ or ()))
    uses = freshness.materials(run)
    if freshness.is_finished(run, uses) and not (retry_failed and freshness.has_failures(run)):
        freshness.check_outcomes(run)
        if not run.recipe_is_stored():  # other prices, for the report
            with run_lock(run.url):
                run.store_recipe()
        say(as_json, {"dataset": run.url, "status": "already built"}, f"{run.url} is already built; nothing to do")
        return
    freshness.probe_inputs(run.resolved)
    with run_lock(run.url):
        pass  # refuse at once; the flow takes the lock for good
    from prefloom.flows.display import Display, shown

    try:
        with shown(Display(run), silent=as_json) as display:
            display.say(f"{run.url}: starting Prefect (the first time ever takes about ten seconds)")
            done = _execute(run, recipe, out, set_ or [], retry_failed)
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        raise InputError("PREFECT_API_URL", found=str(error).split("\n")[0], expected="a Prefect server that answers") from None
    except KeyboardInterrupt:
        sys.stderr.write("prefloom: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from None
    except BaseException as error:
        error.add_note(_RESUME.format(run.url))  # shown if it is a fault of ours
        raise
    seconds, work = time.monotonic() - started, sum(report["ended"] - report["started"] for report in done.values())
    value = {"dataset": run.url, "status": "built", "seconds": round(seconds, 1), "work_seconds": round(work, 1), "stages": done}
    rows = {name: entry.kept for name in ("labels", "preferences") if (entry := stages.entry(run.store, name))}
    if len(rows) < 2:  # the flow resolves again, and has built what it found then
        raise InputError(recipe, found="an input file that changed as the build began", expected="files that do not change; build again")
    text = f"built {run.url}: {rows['labels']:,} labels, {rows['preferences']:,} preferences, in {seconds:.1f} s"
    text += f", {seconds - work:.1f} s of them outside the stages: Prefect, servers that start, hashing, the report"
    if run.store.exists("report.html"):
        text += f"\nlook at {run.url}/report.html"
    if groups := outcomes.outcomes(run.store, run.resolved.recipe):
        value["targets"] = {name: group.row() for name, group in groups.items()}
        if lacking := outcomes.lacking(groups):
            text += f"\n{len(lacking)} of {len(groups)} groups have fewer preferences than their target: see the log above, or the report"
    say(as_json, value | rows, text)


def _execute(run: "Run", recipe: str, out: str, overrides: list[str], retry_failed: bool) -> dict[str, dict[str, Any]]:
    """Run the flow against a Prefect server that lives as long as the build; returns what each stage did."""
    from dataclasses import asdict

    from prefloom.flows import policies
    from prefloom.flows.engines.asking import STOPPING
    from prefloom.flows.local_server import local_server

    def interrupt(number: int, frame: Any) -> None:
        STOPPING.set()  # at once, however long Prefect takes to hear of it: each further call may cost money
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    policies.apply_environment()
    with local_server():
        from prefloom.flows.build import build_dataset

        runner = policies.task_runner(run.resolved.recipe.run)
        flow = build_dataset.with_options(task_runner=runner, flow_run_name=run.name)
        gc.freeze()  # what is loaded now stays: to search it for garbage again and again takes an eighth of a simulated judgement
        done = cast("dict[str, ShardReport]", flow(recipe, out, overrides, retry_failed))
        return {name: asdict(report) for name, report in done.items()}


@app.command()
def watch(dataset: Dataset) -> None:
    """Watch a build that something else runs.

    A schedule, another terminal, another machine on the same file system: everything is read from the run folder. Ctrl-C ends the
    watching, not the build.
    """
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.display import Display, follow

    run = Run(dataset)
    _ = run.resolved  # InputError if no build has begun here
    follow(Display(run))


@app.command()
def report(
    dataset: Dataset,
    as_json: AsJson = False,
) -> None:
    """Write report.html, the dataset on one page.

    What it holds and what was rejected, how sure the labels are, what the order does to the judge, who disagrees with whom, which
    answers win for whom, samples with the readings behind them, baselines, usage and cost, provenance. One file without scripts that
    asks for nothing from the network. A build writes it at its end.
    """
    from prefloom.flows.dataset.store import Store
    from prefloom.flows.report.page import NAME, write_report

    size = write_report(Store(dataset))
    path = f"{dataset.rstrip('/')}/{NAME}"
    say(as_json, {"report": path, "bytes": size}, f"wrote {path} ({size / 1e6:.1f} MB); open it in a browser")


@app.command()
def show(
    dataset: Dataset,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many preferences.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show a few preferences in the terminal.

    The person, the task, both answers, and how sure the label is; before them what each stage kept and rejected.
    """
    from prefloom.flows.dataset.show import overview, sample, text
    from prefloom.flows.dataset.store import Store

    store = Store(dataset)
    report = overview(store) | {"preferences": sample(store, rows)}
    say(as_json, report, text(report))


@app.command()
def validate(
    dataset: Dataset,
    as_json: AsJson = False,
) -> None:
    """Check that a dataset is what it says.

    Reads every byte: files and their hashes, schemas, ids and links, closed accounting, disjoint splits, labels recomputed from their
    readings, preferences, exports. Exit code 1 and the problems by name if one of the checks fails.
    """
    from prefloom.flows.dataset.store import Store
    from prefloom.flows.dataset.validate import validate as check

    results = check(Store(dataset))
    failed = [result for result in results if result.problems]
    lines = [f"{'FAIL' if r.problems else 'ok':<5}{r.name}: {short('; '.join(r.problems), 2000) or r.detail}" for r in results]
    skipped = "" if len(results) > 2 else "; the files must be whole before the other checks mean anything"
    verdict = f"{dataset} is NOT valid: failed {', '.join(r.name for r in failed)}{skipped}" if failed else f"{dataset} is valid"
    report = {"dataset": dataset, "valid": not failed, "checks": [vars(result) for result in results]}
    say(as_json, report, "\n".join([*lines, verdict]))
    if failed:
        raise typer.Exit(1)


for command in (audit, calibrate, ablate, publish, diff, serve):
    app.command()(command)


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on; the default is for this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    latency: Annotated[float, typer.Option(help="Seconds before every answer.")] = 0.0,
    rate_429: Annotated[float, typer.Option("--rate-429", help="Share of requests refused with 429.")] = 0.0,
    rate_500: Annotated[float, typer.Option("--rate-500", help="Share that fails with 500.")] = 0.0,
    drop: Annotated[float, typer.Option(help="Share whose connection closes without an answer.")] = 0.0,
    torn: Annotated[float, typer.Option(help="Share that gets half an answer.")] = 0.0,
    drip: Annotated[float, typer.Option(help="Seconds between the pieces of every answer.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draw of faults.")] = 0,
    cache_blocks: Annotated[int, typer.Option(min=0, help="Blocks of 16 tokens in each model's prefix cache.")] = 65_536,
) -> None:
    """Serve the simulated society as an OpenAI-compatible server.

    For trying out clients, recipes with `engine: endpoint`, and what happens when a server fails: no weights, no GPU, no network. Every
    character of the society is a model. Ctrl-C ends it.
    """
    from prefloom.flows.engines.society.server import Settings, serve
    from prefloom.flows.engines.society.server_faults import Faults

    serve(Settings(host, port, cache_blocks, Faults(seed, rate_429, rate_500, drop, torn, latency, drip)))


def main() -> None:
    """Console script: what the user can mend becomes one line and exit code 2, everything else keeps its traceback and exits with 1."""
    _open_streams()
    try:
        for argument in sys.argv[1:]:
            if not argument.isascii() and argument != argument.encode("utf-8", "replace").decode():
                raise InputError("command line", found=repr(argument), expected="arguments in UTF-8")
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("prefloom: interrupted\n")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last stop
        mended = error if isinstance(error, InputError) else InputError.of(error) if isinstance(error, OSError) else _usage(error)
        if mended is None:
            sys.stderr.write(visible("".join(f"{short(line.rstrip(), 5000)}\n" for line in traceback.format_exception(error))))
            sys.exit(1)
        _refuse(mended)
    finally:
        gc.freeze()  # Python need not search everything once more before it ends


def _open_streams() -> None:
    """A stream that is closed must not be given to the next file that opens; one that is not UTF-8 must not stop us."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage(error: Exception) -> InputError | None:
    """A mistake on the command line, in the words of Typer."""
    words = getattr(error, "format_message", None)
    return InputError("command line", found=words(), expected="what `prefloom --help` says") if words else None


def _refuse(error: InputError) -> NoReturn:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
    line = " ".join(visible(str(error)).split())  # names and values in it may come from anybody's file
    sys.stderr.write(f"prefloom: {line}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
