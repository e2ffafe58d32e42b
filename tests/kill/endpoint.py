"""Kill a build that asks a server, the server it asks, or both; continue, and compare the end with a build that was never interrupted.

    python -m tests.kill.endpoint                                  30 points each: the build, the server, both (several minutes)
    python -m tests.kill.endpoint --points 4 --what both --latency 0.02

Points are drawn from progress: so many answers given by the server, which logs every call before it does anything else (tests/stand_in.py).
At each of them whoever is meant dies of SIGKILL; the server comes back on its port, the build is started again. A call is in flight when
the server has received it and the journal does not hold its answer (the build was killed) or it has not been given (only the server was).
Then, for each kind of kill: calls repeated <= calls in flight at the kills, none missing, Parquet files and manifest byte-identical.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import polars as pl

from tests.command import shared_prefect
from tests.kill.matrix import MARK, digests, gone_after
from tests.stand_in import StandIn, stand_in

DOWN = 0.3  # seconds that a killed server stays away
PATIENCE = 300  # seconds that a build may take, however often its server dies
KINDS = ("build", "server", "both")


class Log:
    """The stand-in's log of calls, read as it grows. Probes of the server are no calls of the build."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0
        self.received: Counter[str] = Counter()
        self.answered: set[str] = set()
        self.recent: set[str] = set()  # received since the last kill

    def read(self) -> None:
        """Take in what has been added."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            what, kind, call = line.split()
            if kind != "other":
                self.received.update([call] if what == "received" else [])
                self.recent.update([call] if what == "received" else [])
                self.answered.update([call] if what == "answered" else [])

    def repeated(self) -> int:
        """Calls that were received once more than needed."""
        return self.received.total() - len(self.received)


def recipe(url: str, options: argparse.Namespace) -> dict[str, object]:
    """A writer and a judge behind one server."""
    # Points are close where a stage is short: the same few calls are in flight at many of thirty deaths of their server.
    served = {"urls": [url], "concurrency": options.concurrency, "attempts": 40}
    return {
        "name": "storm",
        "models": {name: {"engine": "endpoint", "model": name} for name in ("writer", "judge")},
        "servers": {"writer": served, "judge": served},
        "personas": [{"source": "grid", "count": options.personas}],
        "prompts": [{"source": "seeds", "count": options.prompts}],
        "candidates": {"source": "models", "models": ["writer"], "samples": 3},
        "judgements": {"model": "judge"},
        "run": {"report": False},
    }


class Build:
    """`prefloom build` as a process that can be killed."""

    def __init__(self, path: Path, out: Path) -> None:
        self.path, self.out = path, out
        self.before = 0  # calls in the journal when it was last started

    def start(self) -> None:
        command = [sys.executable, "-m", "prefloom.flows.cli", "build", str(self.path), "--out", str(self.out), "--json"]
        environment = os.environ | {MARK: str(self.out)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        gone_after(self.out)

    def ended(self) -> bool:
        """Whether it is done; SystemExit with what it said if it failed."""
        if self.process.poll() is None:
            return False
        said, _ = self.process.communicate()
        if self.process.returncode:
            raise SystemExit(f"build failed ({self.process.returncode}):\n{said}")
        return True

    def journaled(self) -> int:
        """Distinct calls whose answer is in the journal."""
        keys: set[str] = set()
        for path in (self.out / "journal").glob("*/sealed-*.parquet"):
            keys.update(pl.read_parquet(path, columns=["key"])["key"])
        for path in (self.out / "journal").glob("*/open-*.jsonl"):
            keys.update(json.loads(line)["key"] for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
        return len(keys)


def storm(what: str, points: list[int], build: Build, server: StandIn, log: Log) -> int:
    """Kill at every point, go on each time until the build ends; returns how many calls were in flight at the kills."""
    build.start()
    try:
        in_flight = sum(kill(what, point, build, server, log) for point in points)
        began = time.monotonic()
        while not build.ended():
            if time.monotonic() - began > PATIENCE:
                raise SystemExit(f"the build does not end after {len(points)} kills")
            time.sleep(0.05)
    finally:
        build.process.kill()
    log.read()
    return in_flight


def kill(what: str, point: int, build: Build, server: StandIn, log: Log) -> int:
    """Wait for the point, kill, put up again; returns how many calls were in flight."""
    log.read()
    point = max(point, len(log.answered) + 1)  # a build that is started again has to get somewhere first
    began = time.monotonic()
    while len(log.answered) < point:
        if build.ended():
            raise SystemExit(f"the build ended before point {point}")
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"no progress towards point {point}")
        time.sleep(0.005)
        log.read()
    if what != "build":
        server.kill()
    if what != "server":
        build.kill()
    if what == "build":
        while server.stats()["in_flight"]:  # calls whose asker is dead
            time.sleep(0.02)
    log.read()
    if what == "server":
        flying = len(log.recent - log.answered)
    else:
        held, before = build.journaled(), build.before
        build.before, flying = held, len(log.recent) - (held - before)
    log.recent.clear()
    print(f"{what:<7} killed at {point:>6} answered  in flight {flying:>4}  repeated so far {log.repeated():>5}", flush=True)
    if what != "build":
        time.sleep(DOWN)
        server.start()
    if what != "server":
        build.start()
    return flying


def run(scratch: Path, options: argparse.Namespace) -> None:
    served = scratch / "served.log"
    settings = {"models": ["writer", "judge"], "latency": options.latency, "jitter": 0.5}
    with shared_prefect(), stand_in(log=served, **settings) as server:
        path = scratch / "recipe.yaml"
        path.write_text(json.dumps(recipe(server.url, options)))
        whole, log = Build(path, scratch / "whole"), Log(served)
        storm("server", [], whole, server, log)
        needed, expected = set(log.received), digests(whole.out)
        print(f"uninterrupted: {len(needed)} calls, {log.repeated()} repeated, {len(expected)} files", flush=True)
        failed = []
        for what in options.what:
            draw = random.Random(f"{options.seed} {what}")
            # Squares of even draws: the candidates come first and are few, and points among them count as much.
            points = sorted({max(1, round(0.97 * len(needed) * draw.random() ** 2)) for _ in range(options.points)})
            served.write_bytes(b"")
            build, log = Build(path, scratch / what), Log(served)
            in_flight = storm(what, points, build, server, log)
            found = digests(build.out)
            lost, strange = len(needed - log.answered), len(set(log.received) - needed)
            same = sum(found.get(name) == digest for name, digest in expected.items())
            print(
                f"{what}: kills {len(points)}; calls needed {len(needed)}, in flight at kills {in_flight}, repeated {log.repeated()}, ",
                end="",
            )
            print(f"lost {lost}, never needed {strange}; files {len(expected)}, identical {same}", flush=True)
            if log.repeated() > in_flight or lost or strange or found != expected:
                failed.append(what)
    if failed:
        raise SystemExit(f"FAILED: {', '.join(failed)}")
    print("PASSED: byte-identical, no call lost, none repeated that was not in flight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--what", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--personas", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefloom-storm-") as scratch:
        os.environ["PREFECT_HOME"] = f"{scratch}/prefect"
        run(Path(scratch), options)


if __name__ == "__main__":
    main()
