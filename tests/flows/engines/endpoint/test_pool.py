"""Several servers: who gets a call, what happens when one dies, when all do, and when they come back."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.asking import asking
from prefloom.flows.engines.endpoint import pool
from prefloom.flows.engines.endpoint.engine import Endpoint
from prefloom.flows.engines.endpoint.pool import Pool, Station
from prefloom.flows.engines.protocol import Reply
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Server
from tests.flows.engines.endpoint.conversation import answers, endpoint, questions, tasks
from tests.helpers import resolved
from tests.stand_in import StandIn, stand_in


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[StandIn, StandIn]]:
    with stand_in() as first, stand_in() as second:
        yield first, second


@pytest.fixture
def servers(two: tuple[StandIn, StandIn], monkeypatch: pytest.MonkeyPatch) -> tuple[StandIn, StandIn]:
    """Two servers that run, with nothing counted."""
    monkeypatch.setattr(pool, "_FIRST", 0.02)
    monkeypatch.setattr(pool, "_LOOK", 0.05)
    for server in two:
        if server.process.poll() is not None:
            server.start()
        server.set(latency=0.02)
    return two


def complete(replies: list[Reply | None]) -> bool:
    return all(reply and reply.error is None for reply in replies)


def test_one_group_goes_to_one_server_and_all_servers_have_work(servers: tuple[StandIn, StandIn]) -> None:
    first, second = servers
    one_group = questions(60, groups=1)
    assert complete(answers(endpoint(first, second), one_group))
    assert sorted(server.stats()["requests"] for server in servers) == [0, 60]
    for server in servers:
        server.clear()
    many = questions(400, groups=100)
    assert complete(answers(endpoint(first, second), many))
    before = [server.stats()["requests"] for server in servers]
    assert sum(before) == 400
    assert min(before) > 100
    for server in servers:
        server.clear()
    assert complete(answers(endpoint(second, first), many))
    assert [server.stats()["requests"] for server in servers] == before, "the order of the addresses does not matter"


def test_what_failed_at_one_server_is_tried_at_the_other(servers: tuple[StandIn, StandIn]) -> None:
    first, second = servers
    first.set(shares={"500": 1})
    requests = questions(60, groups=20)
    assert complete(answers(endpoint(first, second, attempts=2), requests))
    assert second.stats()["answered"] == 60


@pytest.mark.parametrize("dead", ["before", "meanwhile"])
def test_the_calls_of_a_dead_server_go_to_the_other(servers: tuple[StandIn, StandIn], dead: str) -> None:
    first, second = servers
    requests = [*questions(300, groups=60), *tasks(10, samples=2)]
    engine = endpoint(first, second, concurrency=20)
    if dead == "before":
        first.kill()
    else:
        threading.Timer(0.15, first.kill).start()
    began = time.monotonic()
    assert complete(answers(engine, requests))
    assert time.monotonic() - began < 10
    if dead == "before":
        assert second.stats()["requests"] == 310


def test_a_server_that_comes_back_is_asked_again(servers: tuple[StandIn, StandIn]) -> None:
    first, second = servers
    first.kill()
    again = threading.Timer(0.4, first.start)
    again.start()
    assert complete(answers(endpoint(first, second, concurrency=4), questions(250, groups=100)))
    again.join()
    assert first.stats()["answered"] == 0, "what was handed over stays"
    engine = endpoint(first, second, concurrency=4)
    first.kill()
    list(engine.answer(questions(20, groups=20), lambda: False))
    first.start()
    time.sleep(0.8)
    list(engine.answer(questions(20, groups=20, tag="later"), lambda: False))
    engine.close()
    assert first.stats()["answered"] > 3


def test_all_dead_for_a_while_and_nothing_is_lost(servers: tuple[StandIn, StandIn]) -> None:
    first, second = servers

    def restart() -> None:
        time.sleep(0.15)
        first.kill()
        second.kill()
        time.sleep(0.5)
        second.start()  # the first stays away, and its calls do not wait for it

    storm = threading.Thread(target=restart)
    storm.start()
    assert complete(answers(endpoint(first, second, concurrency=10), questions(300, groups=60)))
    storm.join()


def test_a_gateway_with_nobody_behind_it_is_a_server_that_is_down(servers: tuple[StandIn, StandIn]) -> None:
    first, second = servers
    first.set(shares={"503": 1})
    requests = questions(200, groups=40)
    assert complete(answers(endpoint(first, second, attempts=3, concurrency=20), requests))
    assert first.stats()["requests"] < 150


def test_without_any_server_it_ends_when_patience_does(servers: tuple[StandIn, StandIn], tmp_path: Path) -> None:
    first, second = servers
    second.kill()
    run = Run.create(tmp_path, resolved())
    run.store_recipe()
    requests, scopes = questions(200, groups=4), ["s"] * 200

    def ask(engine: Endpoint) -> tuple[list[Reply], int]:
        run.journal(engine.identity).seal()
        try:
            with asking(engine, run, ["s"]) as session:
                return session.ask(requests, scopes), session.from_journal
        finally:
            engine.close()

    threading.Timer(0.25, first.kill).start()
    began = time.monotonic()
    said = r"servers\.judge\.urls: found no server that answers for \d s \(.*\); expected a server that runs; the same command goes on"
    with pytest.raises(InputError, match=said):
        ask(endpoint(first, second, patience=0.6, concurrency=8))
    assert 0.6 < time.monotonic() - began < 5
    second.start()
    replies, from_journal = ask(endpoint(first, second, patience=20, concurrency=8))
    assert all(reply.error is None for reply in replies)
    assert 8 < from_journal < 200
    assert second.stats()["answered"] == 200 - from_journal


def test_patience_is_for_all_servers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_LOOK", 0.01)
    settings, running, told = Server(urls=["http://a/v1", "http://b/v1"], patience=0.3), set[str](), list[BaseException]()

    async def revive(station: Station) -> bool:
        return station.url in running

    async def story() -> None:
        servers = Pool("judge", settings, revive, told.append)
        servers.stations = a, b = [Station(servers, url) for url in settings.urls]
        servers.lost(a, "gone")
        await asyncio.sleep(0.5)  # for longer than the patience, but the other runs
        servers.lost(b, "gone")
        await asyncio.sleep(0.1)
        running.add(b.url)
        await asyncio.sleep(0.3)
        assert (a.up, b.up, told) == (False, True, [])
        running.clear()
        servers.lost(b, "gone")
        await asyncio.sleep(0.7)
        assert told
        servers.close()

    asyncio.run(story())
    assert "no server that answers for 0 s (gone)" in str(told[0])
