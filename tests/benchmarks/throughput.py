"""How fast, how large, and where the time goes. Prints Markdown; nothing here is asserted, machines are noisy.

    python -m tests.benchmarks.throughput [--personas 200] [--prompts 100]        (or: make bench)

1. Judgements per second, one process on one core, no Prefect: from comparison row to journaled and parsed judgement, journal on, best of
   five, by the clock and by the time of the processor. Beside it, in the same minute, the engine alone on every eighth of the same
   messages, the same stage again with every answer in the journal, and a loop of plain Python that says how fast the machine is just then.
2. Rows per second for each stage of that build, bytes per label on disk, peak memory.
3. A profile of the judgement stage: share of its time by part.
4. The whole command on an empty PREFECT_HOME and again on a used one: seconds, and how many of them are orchestration.
"""

import argparse
import cProfile
import gc
import json
import os
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.society import Society
from tests.helpers import make

PARTS = {
    ("__init__", "_replies"): "the engine reads and judges",
    ("__init__", "render"): "templates are rendered",
    ("protocol", "key"): "calls get their keys",
    ("journal", "append"): "answers are journaled",
    ("judgements", "read_letters"): "answers are parsed",
    ("shards", "write"): "Parquet is written",
    ("journal", "seal"): "the journal is sealed",
}
JUDGE = "small"  # the character of the demo's judge; its writers are others
RUNS = 5


@contextmanager
def one_core() -> Iterator[None]:
    """Keep every thread of this process on one core, those of the libraries too (on Linux; elsewhere it stays as it is)."""
    tasks = Path("/proc/self/task")
    allowed = os.sched_getaffinity(0) if tasks.exists() else set()
    for task in tasks.glob("*"):
        os.sched_setaffinity(int(task.name), {max(allowed)})
    yield
    for task in tasks.glob("*"):
        os.sched_setaffinity(int(task.name), allowed)


def reference() -> float:
    """Seconds for a fixed loop of plain Python: how fast this machine is at this moment."""
    began, x = time.perf_counter(), 0
    for number in range(2_000_000):
        x = (x * 31 + number) % 1_000_003
    return time.perf_counter() - began


def engine_alone(requests: list[Any]) -> float:
    """Seconds for the engine to answer the requests, warm, nothing journaled, nothing parsed."""
    engine = Society(JUDGE)
    for _ in range(2):
        began = time.perf_counter()
        for _ in engine.answer(requests, lambda: False):
            pass
    return time.perf_counter() - began


def judgements(root: Path, overrides: list[str]) -> None:
    run = Run.create(root, resolve("demo", overrides))
    run.store_recipe()
    seen: list[Any] = []
    answer = Society.answer

    def spy(self: Society, requests: Any, stop: Any) -> Any:
        seen.extend(requests[::8] if self.character == JUDGE else ())
        return answer(self, requests, stop)

    rows = {}
    for stage in stages.of(run.resolved.recipe):
        Society.answer = spy if stage.name == "judgements" else answer  # type: ignore[method-assign]
        report, seconds = make(run, stage.name)
        rows[stage.name] = report.kept, seconds
    Society.answer = answer  # type: ignore[method-assign]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    labels, (judged, first) = rows["labels"][0], rows["judgements"]
    sizes = {"dataset": run.folder, "of it labels": run.folder / "labels", "journal": root / "journal"}
    each = {name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / labels for name, folder in sizes.items()}

    def again(journal: bool, clock: Callable[[], float] = time.perf_counter) -> float:
        shutil.rmtree(run.folder / "judgements")
        if not journal:
            shutil.rmtree(root / "journal")
        return make(run, "judgements", clock)[1]

    timed = [(reference(), again(journal=False)) for _ in range(RUNS)]
    loop, took = min(timed, key=lambda one: one[1])
    busy = min(again(journal=False, clock=time.process_time) for _ in range(RUNS))
    alone = engine_alone(seen)
    replay = again(journal=True)
    print(f"| one core, journal on, best of {RUNS} | judgements/s | ratio |\n|---|---|---|")
    print(f"| row -> rendered -> asked -> journaled -> parsed | {judged / took:,.0f} | 1 |")
    print(f"| the same, by processor time: what others on the machine take is left out | {judged / busy:,.0f} | {took / busy:.2f} |")
    print(f"| the engine alone, same minute | {len(seen) / alone:,.0f} | {len(seen) / alone / (judged / took):.2f} |")
    print(f"| again, every answer from the journal | {judged / replay:,.0f} | {took / replay:.2f} |")
    print(f"| the first time in this process | {judged / first:,.0f} | {took / first:.2f} |\n")
    print(f"In the time of a loop of 2,000,000 steps of plain Python ({loop:.3f} s just before): {judged / took * loop:,.0f} judgements.")
    print(f"The runs: {', '.join(f'{judged / seconds:,.0f}' for _, seconds in timed)} judgements/s.\n")
    print("| stage | rows | seconds | rows/s |\n|---|---|---|---|")
    for name, (kept, seconds) in rows.items():
        print(f"| {name} | {kept:,} | {seconds:.2f} | {kept / seconds:,.0f} |")
    for name, size in each.items():
        print(f"\n{name}: {size:.0f} bytes per label", end="")
    print(f"\npeak memory of this process: {peak:.0f} MiB\n")

    profile = cProfile.Profile()
    profile.enable()
    again(journal=False)
    profile.disable()
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    print("| part of the judgement stage | share of its time (profiled: everything is slower, the shares hold roughly) |\n|---|---|")
    for (file, _, function), (_, _, _, cumulative, _) in sorted(stats.stats.items(), key=lambda item: -item[1][3]):  # type: ignore[attr-defined]
        if what := PARTS.get((Path(file).stem, function)):
            print(f"| {what} | {cumulative / total:.0%} |")


def orchestration(root: Path, overrides: list[str]) -> None:
    home = root / "prefect"
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_HOME": str(home)}
    arguments = [part for override in overrides for part in ("--set", override)]
    print("\n| `prefloom build demo` | seconds | of them orchestration |\n|---|---|---|")
    for name in ("cold: empty PREFECT_HOME", "warm", "finished already"):
        out = root / ("warm" if name == "finished already" else name.split(":")[0])
        command = [sys.executable, "-m", "prefloom.flows.cli", "build", "demo", *arguments, "--out", str(out), "--json"]
        began = time.perf_counter()
        done = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        wall = time.perf_counter() - began
        print(f"| {name} | {wall:.1f} | {wall - done.get('work_seconds', 0):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--personas", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=100)
    options = parser.parse_args()
    overrides = [f"personas.0.count={options.personas}", f"prompts.0.count={options.prompts}"]
    gc.freeze()  # as a build does
    with tempfile.TemporaryDirectory() as scratch:
        with one_core():
            judgements(Path(scratch) / "one", overrides)
        orchestration(Path(scratch), overrides)


if __name__ == "__main__":
    main()
