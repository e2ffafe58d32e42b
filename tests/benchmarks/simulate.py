"""How many judge's readings a second `prefloom simulate` answers on one core. Prints Markdown; asserts nothing.

    python -m tests.benchmarks.simulate                  the server on core 0, the client on core 1
    python -m tests.benchmarks.simulate --bench DIR      beside DIR/fake_server.py, which answers without reading

40 comparisons x 10 persons in the words of judge/pairwise, about 2.5 kB each, over and over: 64 in flight, keep-alive. The client writes
requests that were made before and looks at nothing but the length of a reply, so that the server is what is measured. After a round that
warms up, the servers take turns; rates are medians. CPU is the server's, user and system.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import orjson

from prefloom.flows.engines.society.server_tokens import encode
from prefloom.prompts import load
from tests.benchmarks.endpoint import Fake

IN_FLIGHT = 64
LETTERS = ("A", "B")


def requests(port: int) -> list[bytes]:
    """The readings, as they go over the line."""
    template, found = load("judge/pairwise"), []
    for pair in range(40):
        first = f"Plan {pair}. " + "Boil the water first, salt it well, and leave the lid on while you chop the herbs. " * 10
        second = f"Idea {pair}. " + "Perhaps you could begin with the herbs; many cooks, for example, enjoy it that way. " * 8
        for number in range(10):
            persona = f"Person {number}, a carpenter of {25 + number} who reads on the train, likes it brief and dislikes jokes."
            messages = template.render(persona=persona, prompt="How do I cook pasta for six?", first=first, second=second)
            said = [{"role": role, "content": content} for role, content in messages]
            ids = [encode(letter) for letter in LETTERS]
            asked = {"model": "good", "messages": said, "max_tokens": 1, "temperature": 0.0, "logprobs": True, "logprob_token_ids": ids}
            body = orjson.dumps(asked)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nUser-Agent: bench\r\n"
            found.append(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


async def flood(port: int, asked: list[bytes], count: int) -> float:
    """Seconds for so many requests."""
    left = iter(range(count))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            writer.write(asked[number % len(asked)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            at = head.lower().index(b"content-length:") + 15
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


class Own:
    """`prefloom simulate` as a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "prefloom.flows.cli", "simulate", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split(":")[2].split("/")[0])


def cpu(process: int) -> float:
    """Seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, help="folder with fake_server.py")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    servers: dict[str, Own | Fake] = {"prefloom simulate": Own()}
    if options.bench:
        servers["minimal server"] = Fake(options.bench.absolute())
    try:
        for server in servers.values():
            os.sched_setaffinity(server.process.pid, {0})
        os.sched_setaffinity(0, {1})
        measure(servers, options.n, options.rounds)
    finally:
        for server in servers.values():
            server.process.kill()
            server.process.communicate()


def measure(servers: dict[str, Own | Fake], count: int, rounds: int) -> None:
    """All servers in turn."""
    asked = {name: requests(server.port) for name, server in servers.items()}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    used = dict.fromkeys(servers, 0.0)
    for turn in range(rounds + 1):
        for name, server in servers.items():
            before = cpu(server.process.pid)
            rate = count / asyncio.run(flood(server.port, asked[name], count))
            if turn:
                rates[name].append(rate)
                used[name] += cpu(server.process.pid) - before
    size = statistics.mean(len(request) for request in asked["prefloom simulate"])
    print(
        f"| {IN_FLIGHT} in flight, requests of {size:,.0f} bytes | requests/s | lowest–highest | CPU µs/request | of the minimal server |"
    )
    print("|---|---|---|---|---|")
    base = statistics.median(rates["minimal server"]) if "minimal server" in rates else 0.0
    for name, found in rates.items():
        rate, share = statistics.median(found), f"{statistics.median(found) / base:.2f}" if base else ""
        spread = f"{min(found):,.0f}–{max(found):,.0f}"
        print(f"| {name} | {rate:,.0f} | {spread} | {1e6 * used[name] / (count * rounds):,.0f} | {share} |")


if __name__ == "__main__":
    main()
