"""Kill a build at many points, continue it each time, and compare the end with a build that was never interrupted.

    python -m tests.kill.matrix                     # small recipe, a few minutes
    python -m tests.kill.matrix --personas 200 --prompts 100

Prints a line for every kill: where it hit, what was in flight, how long the processes of the build lived on. Then, over all kills:
repeated calls <= calls in flight, rows lost = 0, every Parquet file and the manifest byte-identical.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.command import in_fork, shared_prefect
from tests.kill import driver

MARK = "PREFLOOM_KILL_MATRIX"

# In the order in which a build passes them, so that every continued build gets one point further.
POINTS: list[tuple[str, int]] = [
    ("server -", 1),
    ("migrating -", 1),
    ("flow -", 1),
    *[
        point
        for stage, shards in (("personas", 1), ("prompts", 8), ("candidates", 8), ("comparisons", 8), ("judgements", 8))
        for point in (
            *([("journal-torn society_*", 1), ("journal society_*", 2)] if stage == "candidates" else []),
            *([("journal-torn *small*", 1), ("journal *small*", 3), ("journal-torn *small*", 2)] if stage == "judgements" else []),
            *([("write rejected/judgements-*", 1)] if stage == "judgements" else []),
            (f"write {stage}/part-*", min(2, shards)),
            (f"fsynced {stage}/part-*", min(3, shards)),
            (f"renamed {stage}/part-*", 1),
            *([("write sealed-*", 1), ("fsynced *small*/sealed-*", 1), ("renamed *small*/sealed-*", 1)] if stage == "judgements" else []),
            (f"fsynced {stage}/_stage.json", 1),
        )
    ],
    *[(f"{what} {stage}/part-*", 1) for stage in ("labels", "preferences") for what in ("write", "fsynced", "renamed")],
    ("fsynced preferences/_stage.json", 1),
    ("write exports/trl/*", 2),
    ("fsynced */part-*", 3),
    ("renamed exports/_stage.json", 1),
    ("write manifest.json", 1),
    ("linking */manifest.json", 1),
]


OWN_SERVER = 3  # the first kills hit a build while its own Prefect server starts; later ones share a server, and their imports (in_fork)


def start(folder: Path, log: Path, point: str, nth: int, arguments: list[str]) -> int:
    """Run the driver to its end; returns the exit code (negative: the signal)."""
    command = [str(log), point, str(nth), "build", *arguments, "--out", str(folder)]
    environment = os.environ | {MARK: str(folder)}
    if "PREFECT_API_URL" in os.environ:
        done = in_fork(driver.main, *command, environment=environment)
    else:
        alone = [sys.executable, driver.__file__, *command]
        done = subprocess.run(alone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -9):
        raise SystemExit(f"build failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done.returncode


def survivors(folder: Path) -> list[int]:
    """Processes of this build that are still there, by the mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={folder}".encode() in environment and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def gone_after(folder: Path, limit: float = 5.0) -> float:
    """Seconds until no process of the build is left."""
    began = time.monotonic()
    while survivors(folder):
        if time.monotonic() - began > limit:
            raise SystemExit(f"processes {survivors(folder)} outlive the killed build")
        time.sleep(0.02)
    return time.monotonic() - began


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every Parquet file and of the manifest."""
    (run,) = (folder / "runs").iterdir()
    files = [*run.rglob("*.parquet"), run / "manifest.json"]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def read_log(log: Path, seen: int) -> tuple[Counter[str], set[str], str, int]:
    """(asked, journaled, where it was killed, new length) of the log's lines from `seen` on."""
    lines = log.read_text().splitlines() if log.exists() else []
    asked: Counter[str] = Counter()
    journaled: set[str] = set()
    killed = ""
    for line in lines[seen:]:
        what, _, rest = line.partition(" ")
        if what == "asked":
            asked[rest] += 1
        elif what == "journaled":
            journaled.add(rest)
        else:
            killed = rest
    return asked, journaled, killed, len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--personas", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="take every n-th kill point")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefloom-kill-") as scratch:
        os.environ["PREFECT_HOME"] = f"{scratch}/prefect"  # empty: the first kill hits a server that migrates its database
        with ExitStack() as until_the_end:
            run(Path(scratch), options, until_the_end)


def run(scratch: Path, options: argparse.Namespace, until_the_end: ExitStack) -> None:
    arguments = ["demo", "--set", f"personas.0.count={options.personas}", "--set", f"prompts.0.count={options.prompts}"]
    killed, log = scratch / "killed", scratch / "killed.log"
    all_asked: Counter[str] = Counter()
    in_flight = seen = hits = 0
    for place, (point, nth) in enumerate([*POINTS[:: options.every], ("-", 1)]):
        if place == len(POINTS[: OWN_SERVER : options.every]):
            until_the_end.enter_context(shared_prefect())
        code = start(killed, log, point, nth, arguments)
        lived = gone_after(killed)
        asked, journaled, where, seen = read_log(log, seen)
        all_asked += asked
        if code == 0:
            print(f"{'finished' if point == '-' else 'not reached: ' + point:<58} asked {asked.total():>6}")
            continue
        hits += 1
        flying = len(set(asked) - journaled)
        in_flight += flying
        print(f"killed at {where:<48} asked {asked.total():>6}  in flight {flying:>4}  processes gone after {lived:.2f} s", flush=True)
    whole, whole_log = scratch / "whole", scratch / "whole.log"
    start(whole, whole_log, "-", 1, [*arguments, "--set", "run.workers=1"])
    gone_after(whole)
    needed = set(read_log(whole_log, 0)[0])
    repeated, expected, found = all_asked.total() - len(all_asked), digests(whole), digests(killed)
    print(f"kills {hits} of {len(POINTS[:: options.every])} points")
    print(f"calls needed {len(needed)}, repeated {repeated}, in flight at kills {in_flight}")
    print(f"files {len(expected)}; identical {sum(found.get(name) == digest for name, digest in expected.items())}")
    leftovers = [str(path) for path in killed.rglob("*.tmp")]
    problems = {
        "a kill point was not reached": hits < len(POINTS[:: options.every]),
        "calls repeated beyond those in flight": repeated > in_flight,
        "other calls than an uninterrupted build": set(all_asked) != needed,
        "files differ": found != expected,
        f"temporary files left: {leftovers}": bool(leftovers),
    }
    if failed := [problem for problem, holds in problems.items() if holds]:
        raise SystemExit("FAILED: " + "; ".join(failed))
    print("PASSED: byte-identical, no row lost, no process left")


if __name__ == "__main__":
    main()
