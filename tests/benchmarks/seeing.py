"""What people wait for: help, the plan, the first line of a build, the report. Prints Markdown and asserts nothing: machines are noisy.

python -m tests.benchmarks.seeing                     help, plan against build, first line                  (part of `make bench`)
python -m tests.benchmarks.seeing --report 1750       the report of 1750 personas' dataset, a million labels: five minutes
"""

import argparse
import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from tests.helpers import make

PREFLOOM = [sys.executable, "-m", "prefloom.flows.cli"]


def seconds(command: list[str]) -> float:
    """Wall clock of a command, the best of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def first_output(command: list[str], terminal: bool) -> float:
    """Seconds until the first byte on standard error, which is a terminal or a pipe."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=writer, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
    os.close(writer)
    os.read(reader, 1)
    took = time.perf_counter() - began
    process.terminate()
    process.wait()
    os.close(reader)
    return took


def waiting(root: Path) -> None:
    """Help, plan and first lines, beside the start of Python itself."""
    build = [*PREFLOOM, "build", "demo", "--out"]
    rows = {
        "python -c pass": seconds([sys.executable, "-c", "pass"]),
        "prefloom --help": seconds([*PREFLOOM, "--help"]),
        "prefloom plan demo": seconds([*PREFLOOM, "plan", "demo", "--out", str(root / "empty")]),
        "first line of `build demo`, piped": first_output([*build, str(root / "piped")], terminal=False),
        "first picture of `build demo` on a terminal": first_output([*build, str(root / "terminal")], terminal=True),
    }
    print("| | seconds |\n|---|---|")
    for name, took in rows.items():
        print(f"| {name} | {took:.2f} |")


def run_json(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([*PREFLOOM, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def planned(root: Path) -> None:
    """What the plan said on an empty root, and what the build then used."""
    plan = run_json("plan", "demo", "--out", str(root / "demo"))
    folder = Path(run_json("build", "demo", "--out", str(root / "demo"))["dataset"])
    found = json.loads((folder / "manifest.json").read_text())["stages"]
    used = [usage for stage in found.values() for usage in stage["usage"].values()]
    whole = plan["total"]
    rows = {"calls": (whole["calls"], sum(u["calls"] for u in used))}
    rows |= {f"{kind} tokens": (whole[f"{kind}_tokens"], sum(u[f"{kind}_tokens"] for u in used)) for kind in ("prompt", "completion")}
    rows |= {"bytes of the dataset": (whole["dataset_bytes"], sum(file["bytes"] for stage in found.values() for file in stage["files"]))}
    journal = sum(path.stat().st_size for path in (root / "demo" / "journal").rglob("sealed-*"))
    rows |= {"bytes of the journal": (whole["journal_bytes_added"], journal)}
    print("\n| `plan demo` | planned | used | deviation |\n|---|---|---|---|")
    for name, (expected, actual) in rows.items():
        print(f"| {name} | {expected:,} | {actual:,} | {expected / actual - 1:+.2%} |")


def report(root: Path, personas: int) -> None:
    """Build a large dataset without Prefect, then measure its report in a process of its own."""
    wanted = [f"personas.0.count={personas}", "prompts.0.count=120", "comparisons.per_prompt=6", "comparisons.per_persona_prompt=5"]
    run = Run.create(root, resolve("demo", [*wanted, "shards.prompts=32", "shards.personas=8"]))
    run.store_recipe()
    for stage in stages.STAGES:
        make(run, stage.name)
    finish(run)
    began = time.perf_counter()
    done = run_json("report", str(run.folder))
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    labels = stages.entry(run.store, "labels")
    assert labels
    print("| labels | report | seconds | peak memory |\n|---|---|---|---|")
    print(f"| {labels.kept:,} | {done['bytes'] / 1e6:.2f} MB | {took:.1f} | {peak:.0f} MiB |")


def finish(run: Run) -> None:
    """The manifest, as a build writes it."""
    from prefloom.flows.steps import freshness

    composed = freshness.composed(run, freshness.materials(run))
    assert composed
    run.store.create(stages.MANIFEST, composed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=int, metavar="PERSONAS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.report:
            report(Path(scratch), options.report)
        else:
            waiting(Path(scratch))
            planned(Path(scratch))


if __name__ == "__main__":
    main()
