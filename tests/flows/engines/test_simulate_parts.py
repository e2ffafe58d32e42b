"""Parts of the simulated society's server: its tokens, its prefix cache, its faults, the command."""

import http.client
import json
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloom.flows.engines.society import characters
from prefloom.flows.engines.society.server_cache import PrefixCache
from prefloom.flows.engines.society.server_faults import Faults
from prefloom.flows.engines.society.server_tokens import decode, encode, pieces
from prefloom.prompts import load
from prefloom.schemas.errors import InputError
from tests.breaking import command
from tests.simulated import chat, send, served, wire

TASK = load("candidate/answer").render(prompt="How do I wrap a present neatly?", view="a list of steps")


@given(st.text(max_size=40))
def test_tokens_come_back_byte_for_byte(text: str) -> None:
    cut = pieces(text)
    assert [decode(encode(piece)) for piece in cut] == cut
    assert "".join(cut) == text
    assert all(1 <= len(piece) <= 4 and 0 <= encode(piece) < 2**53 for piece in cut)
    assert not text.isascii() or len(cut) == -(-len(text) // 4)


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=20))
def test_no_two_tokens_have_one_id(some: list[str]) -> None:
    whole = [text for text in some if pieces(text) == [text]]
    assert len({encode(text) for text in whole}) == len(whole)


def test_the_prefix_cache_forgets_what_was_used_longest_ago() -> None:
    cache = PrefixCache(blocks=12)
    long, other = "a" * 640, "b" * 320
    assert [cache.take(long, 160), cache.take(long, 160)] == [0, 144], "the last token is always computed"
    assert cache.take(long[:200] + "x" * 440, 160) == 48
    assert len(cache) == 12
    cache.take(other, 80)
    assert cache.take(other + "c", 80) == 64
    assert PrefixCache(0).take(long, 160) == 0


def fates(address: str, count: int) -> list[str]:
    """What becomes of requests sent one after another."""
    found = []
    for _ in range(count):
        try:
            status, headers, raw = chat(address)
        except (http.client.RemoteDisconnected, ConnectionError):
            found.append("drop")
            continue
        if status == 429:
            assert float(headers["retry-after"]) >= 0
        try:
            json.loads(raw)
            found.append(str(status))
        except json.JSONDecodeError:
            assert int(headers["content-length"]) == len(raw)
            found.append("torn")
    return found


def test_faults_come_in_their_shares_and_again_with_the_seed() -> None:
    storm = Faults(seed=4, rate_429=0.2, rate_500=0.1, drop=0.1, torn=0.2)
    with served(faults=storm) as one:
        first = fates(one, 60)
    with served(faults=storm) as two:
        assert fates(two, 60) == first
    assert first == [storm.draw(number) or "200" for number in range(60)]
    assert set(first) == {"200", "429", "500", "drop", "torn"}
    drawn = [storm.draw(number) for number in range(20_000)]
    assert drawn != [Faults(seed=5, rate_429=0.2, rate_500=0.1, drop=0.1, torn=0.2).draw(number) for number in range(20_000)]
    for kind, share in (("429", 0.2), ("500", 0.1), ("drop", 0.1), ("torn", 0.2), (None, 0.4)):
        assert abs(drawn.count(kind) / len(drawn) - share) < 4 * math.sqrt(share / len(drawn))


def test_answers_wait_and_drip() -> None:
    def seconds(work: Callable[[], Any]) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    with served(faults=Faults(latency=0.15)) as slow:
        assert 0.15 <= seconds(lambda: chat(slow)) < 1
        assert seconds(lambda: send(slow, "/v1/models", method="GET")) < 0.1
    with served(faults=Faults(drip=0.05)) as dripping:
        status, headers, raw = chat(dripping)
        pieces_sent = -(-len(raw) // 256)
        assert (status, int(headers["content-length"])) == (200, len(raw))
        assert seconds(lambda: chat(dripping)) >= 0.05 * pieces_sent
        torn = b"".join(
            send(dripping, "/v1/chat/completions", {"model": "good", "messages": wire(TASK), "max_tokens": 4, "stream": True})[2:]
        )
        assert torn.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "wrong", [{"rate_429": 1.2}, {"drop": 0.6, "torn": 0.6}, {"latency": -1.0}, {"drip": math.nan}, {"torn": math.nan}]
)
def test_shares_and_seconds_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Faults(**wrong)  # type: ignore[arg-type]


def test_the_command_says_where_it_is_and_ends_at_once() -> None:
    arguments = [sys.executable, "-m", "prefloom.flows.cli", "simulate", "--port"]
    process = subprocess.Popen([*arguments, "0", "--latency", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline().strip()
    address = line.split()[3].rstrip(":")
    assert line == f"simulated society on {address}: models {', '.join(characters())}"
    assert address.startswith("http://127.0.0.1:")
    port = address.split(":")[2].split("/")[0]
    with socket.create_connection(("127.0.0.1", int(port))) as waiting:
        asked = b'{"model":"good","prompt":"yes"}'
        waiting.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(asked), asked))
        taken = subprocess.run([*arguments, port], capture_output=True, text=True, check=False)
        assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
        assert f"--port: found {port}, which is in use" in taken.stderr
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=10)
        assert (process.returncode, rest, complaints) == (0, "", "")
        assert time.monotonic() - began < 3
    assert command("simulate", "--host", "no.such.host.invalid").code == 2
