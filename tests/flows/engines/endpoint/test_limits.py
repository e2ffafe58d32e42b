"""The limit against simulated servers, on a simulated clock: slots take calls, rest after a 429, and are as many as the limit says."""

import heapq
import itertools
import random
from collections.abc import Callable

import pytest

from prefloom.flows.engines.endpoint.limits import Adaptive

# What a server does with a call: (calls in flight with this one, a number in [0, 1))  ->  ("answer" | "429" | "timeout", seconds)
Server = Callable[[int, float], tuple[str, float]]
REFUSAL = ("429", 0.002)


class World:
    """Time, a server, and as many slots as the limit allows, always with work to do."""

    def __init__(self, server: Server, most: int = 256, floor: int = 4, timeout: float = 60.0) -> None:
        self.time, self.server = 0.0, server
        self.limit = Adaptive(floor, most, timeout, lambda: self.time)
        self.draw = random.Random(7)
        self.events: list[tuple[float, int, str, float]] = []
        self.count = itertools.count()
        self.slots = self.busy = 0
        self.lowest = most

    def run(self, seconds: float) -> float:
        """Let time pass; answers per second."""
        until, began, answers = self.time + seconds, self.time, 0
        while self.time < until:
            while self.slots < self.limit.now:
                self._take()
            self.time, _, kind, took = heapq.heappop(self.events)
            self.slots -= 1
            if kind == "rest":
                continue
            self.busy -= kind != "429"
            answers += kind == "answer"
            if kind == "answer":
                self.limit.answered(took)
            elif kind == "timeout":
                self.limit.timed_out()
            else:
                self._push("rest", self.limit.throttled())
            self.lowest = min(self.lowest, self.limit.now)
        return answers / (self.time - began)

    def _take(self) -> None:
        kind, seconds = self.server(self.busy + 1, self.draw.random())
        self.busy += kind != "429"
        self._push(kind, seconds)

    def _push(self, kind: str, seconds: float) -> None:
        self.slots += 1
        heapq.heappush(self.events, (self.time + seconds, next(self.count), kind, seconds))


def capacity(most: int, seconds: float = 0.2) -> Server:
    return lambda busy, _: REFUSAL if busy > most else ("answer", seconds)


def constant(share: float, seconds: float = 0.2) -> Server:
    return lambda _, drawn: REFUSAL if drawn < share else ("answer", seconds)


@pytest.mark.parametrize("most", [12, 32, 100, 200])
def test_it_settles_near_what_a_server_can_do(most: int) -> None:
    world = World(capacity(most))
    world.run(60)
    seen = []
    for _ in range(60):
        world.run(1)
        seen.append(world.limit.now)
    assert 0.6 * most <= sum(seen) / len(seen) <= 1.2 * most, seen
    assert world.run(60) >= 0.75 * most / 0.2


def test_few_calls_are_wasted_on_a_server_that_is_full() -> None:
    asked = [0, 0]

    def server(busy: int, _: float) -> tuple[str, float]:
        refused = busy > 32
        asked[refused] += 1
        return REFUSAL if refused else ("answer", 0.2)

    world = World(server)
    world.run(60)
    asked[:] = [0, 0]
    world.run(60)
    assert asked[1] < 0.25 * asked[0], asked


@pytest.mark.parametrize("server", [capacity(1), capacity(0), constant(1.0), lambda *_: ("answer", 59.0), lambda *_: ("timeout", 60.0)])
def test_it_never_falls_below_the_floor(server: Server) -> None:
    world = World(server, floor=4)
    world.run(5000)
    assert world.lowest == 4


def test_a_server_that_only_refuses_is_asked_less_and_less() -> None:
    asked = []

    def server(*_: object) -> tuple[str, float]:
        asked.append(world.time)
        return REFUSAL

    world = World(server)
    world.run(600)
    assert len(asked) < 3000
    assert sum(when > 300 for when in asked) < 100
    assert world.limit.throttled() > 10


@pytest.mark.parametrize("seconds", [0.05, 0.2, 2.0])
@pytest.mark.parametrize("most", [16, 256])
def test_a_constant_share_of_refusals_does_not_shrink_it_for_good(most: int, seconds: float) -> None:
    clean = World(constant(0.0, seconds), most=most).run(600 * seconds)
    world = World(constant(0.2, seconds), most=most)
    assert world.run(600 * seconds) >= 0.8 * clean
    assert world.limit.now >= 0.7 * most


def test_a_constant_share_of_time_outs_does_not_either() -> None:
    world = World(lambda _, drawn: ("timeout", 60.0) if drawn < 0.1 else ("answer", 0.2))
    world.run(2000)
    assert sum(world.limit.now for _ in range(50) if world.run(10)) / 50 > 64


def test_slow_replies_shrink_it_before_they_time_out() -> None:
    world = World(lambda busy, _: ("answer", busy / 10), timeout=60)  # ten answers a second, however many are asked for
    assert world.run(1200) > 8
    assert world.limit.now <= 1.2 * 150  # 15 seconds, a quarter of the time-out, are 150 calls
    assert world.limit.now >= 0.5 * 150


def test_it_recovers() -> None:
    world = World(capacity(20))
    world.run(60)
    assert world.limit.now < 40
    world.server = capacity(1000)
    world.run(60)
    assert world.limit.now == 256
    assert world.limit.throttled() < 1


def test_what_a_server_takes_without_complaint_is_never_cut() -> None:
    world = World(constant(0.0))
    world.run(60)
    assert world.lowest == 256
