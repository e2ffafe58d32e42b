"""How fast the endpoint engine asks, beside what one would write without it, in the same minutes. Prints Markdown; asserts nothing.

    python -m tests.benchmarks.endpoint                                     against the stand-in, beside tests/benchmarks/raw_clients.py
    python -m tests.benchmarks.endpoint --bench DIR                         against DIR/fake_server.py, beside DIR/adapters/raw_*.py
    python -m tests.benchmarks.endpoint --only memory                       50,000 and 500,000 requests (several minutes)

1. `speed`: at 0 ms and at 200 ms, 256 in flight, clients take turns for several rounds; medians. Requests per second by the server's clock,
   first request to last answer; CPU of the client process (user and system) per request, with its start-up and without (less that of a run
   of one request).
2. `busy`: the engine with 20 % of the replies 429, against without.
3. `memory`: peak resident memory at 50,000 and at 500,000 requests.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.stand_in import ROOT, StandIn, stand_in

IN_FLIGHT = 256
PREFLOOM = "prefloom, journal on"


@dataclass(frozen=True)
class Result:
    """What one run of one client came to."""

    n: int
    answered: int
    rate: float
    cpu: float  # seconds, user and system
    wall: float
    connections: int
    repeated: int
    peak: float  # MiB
    said: dict[str, Any]


class Fake:
    """fake_server.py of a folder elsewhere, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        command = [sys.executable, str(folder / "fake_server.py"), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def _get(self, path: str, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            counted: dict[str, Any] = json.load(reply)
            return counted

    def begin(self, latency: float, busy: bool) -> None:
        self._get(f"/reset?latency_ms={latency * 1000:g}&fail_every={5 if busy else 0}", "POST")

    def counts(self) -> dict[str, Any]:
        seen = self._get("/stats")
        return {"answered": seen["answered_ids"], "repeated": seen["repeated"], "connections": seen["connections"]} | {
            "span": (seen["last"] or 0) - (seen["first"] or 0)
        }


class Own:
    """The stand-in, seen the same way."""

    def __init__(self, server: StandIn) -> None:
        self.server, self.url = server, server.url

    def begin(self, latency: float, busy: bool) -> None:
        self.server.set(models=["fake-model"], latency=latency, shares={"429": 0.2} if busy else {}, draw="counter")

    def counts(self) -> dict[str, Any]:
        seen = self.server.stats()
        calls = seen["calls"]
        return {"answered": calls["answered"], "repeated": calls["repeated"], "connections": seen["connections"]} | {
            "span": seen["last"] - seen["first"]
        }


Target = Fake | Own
Client = tuple[str, list[str]]  # name, command without the arguments that all of them take


@contextmanager
def target(bench: Path | None) -> Iterator[Target]:
    """The server that is asked."""
    if bench is None:
        with stand_in() as server:
            yield Own(server)
        return
    fake = Fake(bench)
    try:
        yield fake
    finally:
        fake.process.kill()
        fake.process.communicate()


def clients(bench: Path | None) -> list[Client]:
    """Who is measured, the slowest first."""
    raw = [sys.executable, "-m", "tests.benchmarks.raw_clients", "--variant"]
    naive, pool = [*raw, "openai"], [*raw, "aiohttp"]
    if bench:
        naive = [sys.executable, str(bench / "adapters/raw_openai.py")]
        pool = [sys.executable, str(bench / "adapters/raw_http.py"), "--variant", "aiohttp"]
    return [("naive openai script", naive), ("aiohttp worker pool", pool), (PREFLOOM, prefloom("judge"))]


def prefloom(variant: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.endpoint_client", "--variant", variant]


def measure(server: Target, command: list[str], n: int, latency: float = 0.0, busy: bool = False) -> Result:
    """Run a client once."""
    server.begin(latency, busy)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["--n", str(n), "--conc", str(IN_FLIGHT), "--base-url", server.url, "--out", scratch]
        environment = os.environ | {"OPENAI_API_KEY": "sk-none", "NO_PROXY": "127.0.0.1"}
        began = time.monotonic()
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        note = Path(scratch) / "client.json"
        said = json.loads(note.read_text()) if note.exists() else {}
    seen = server.counts()
    rate = seen["answered"] / seen["span"] if seen["span"] else 0.0
    peak = used.ru_maxrss / 1024
    return Result(n, seen["answered"], rate, used.ru_utime + used.ru_stime, wall, seen["connections"], seen["repeated"], peak, said)


def speed(server: Target, bench: Path | None, n: int, rounds: int) -> None:
    """Everybody in turn, at both latencies."""
    everybody = clients(bench)
    alone = {name: measure(server, command, 1).cpu for name, command in everybody}
    for latency in (0.0, 0.2):
        results: dict[str, list[Result]] = {name: [] for name, _ in everybody}
        for _ in range(rounds):
            for name, command in everybody:
                results[name].append(measure(server, command, n if name == everybody[0][0] else 4 * n, latency))
        print(f"\n| {latency * 1000:.0f} ms, {IN_FLIGHT} in flight | requests/s | ratio | CPU ms/request | without start-up ", end="")
        print("| connections | MiB |\n|---|---|---|---|---|---|---|")
        base = statistics.median(result.rate for result in results[everybody[0][0]])
        for name, many in results.items():
            median = partial(_median, many)
            rates = f"{median(lambda r: r.rate):,.0f} ({min(r.rate for r in many):,.0f}–{max(r.rate for r in many):,.0f})"
            whole, net = median(lambda r: 1000 * r.cpu / r.n), 1000 * (median(lambda r: r.cpu) - alone[name]) / (many[0].n - 1)
            cells = (name, rates, f"{median(lambda r: r.rate) / base:.2f}", f"{whole:.2f}", f"{net:.2f}")
            print(f"| {' | '.join(cells)} | {max(r.connections for r in many)} | {max(r.peak for r in many):,.0f} |", flush=True)
            if short := [r for r in many if r.answered < r.n or r.said.get("failed")]:
                print(f"\n{name}: {[(r.answered, r.n, r.said) for r in short]}\n")


def _median(many: list[Result], value: Callable[[Result], float]) -> float:
    return statistics.median(value(result) for result in many)


def busy(server: Target, n: int, rounds: int) -> None:
    """With 20 % of the replies 429, against without."""
    print(f"\n| {PREFLOOM} | clean, requests/s | 20 % are 429 | share of the clean rate | rows without an answer |\n|---|---|---|---|---|")
    for latency in (0.0, 0.2):
        clean, hard = [], []
        for _ in range(rounds):
            clean.append(measure(server, prefloom("judge"), 4 * n, latency))
            hard.append(measure(server, prefloom("judge"), 4 * n, latency, busy=True))
        before, after = _median(clean, lambda r: r.rate), _median(hard, lambda r: r.rate)
        lost = sum(r.said["failed"] for r in hard)
        print(f"| {latency * 1000:.0f} ms | {before:,.0f} | {after:,.0f} | {after / before:.0%} | {lost} |", flush=True)


def memory(server: Target, sizes: list[int]) -> None:
    """Peak memory by number of requests."""
    print(f"\n| {PREFLOOM}, requests | requests/s | CPU ms/request | peak MiB | before the journal is sealed | of the first |")
    print("|---|---|---|---|---|---|")
    first = 0.0
    for n in sizes:
        result = measure(server, prefloom("judge"), n)
        first = first or result.peak
        cells = (f"{n:,}", f"{result.rate:,.0f}", f"{1000 * result.cpu / n:.2f}", f"{result.peak:,.0f}")
        print(f"| {' | '.join(cells)} | {result.said['peak_before_sealing']:,.0f} | {result.peak / first:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, help="folder with fake_server.py and adapters/raw_openai.py, raw_http.py")
    parser.add_argument("--n", type=int, default=5000, help="requests of the naive script; the others make four times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["speed", "busy", "memory"], nargs="+", default=["speed", "busy"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 500_000])
    options = parser.parse_args()
    with target(options.bench and options.bench.absolute()) as server:
        if "speed" in options.only:
            speed(server, options.bench and options.bench.absolute(), options.n, options.rounds)
        if "busy" in options.only:
            busy(server, options.n, options.rounds)
        if "memory" in options.only:
            memory(server, options.sizes)


if __name__ == "__main__":
    main()
