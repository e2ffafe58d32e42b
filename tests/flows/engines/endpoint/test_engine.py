"""The engine against a stand-in server: every row answered once and in its place, whatever the server does."""

import math
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from prefloom.flows.engines.endpoint import pool, wire
from prefloom.flows.engines.endpoint.engine import key_of
from prefloom.flows.engines.endpoint.pool import Station
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Server
from tests.flows.engines.endpoint.conversation import KNOWN, LETTERS, answers, endpoint, questions, tasks, texts
from tests.stand_in import StandIn
from tests.stand_in_answers import log_odds, prose
from tests.stand_in_faults import POISON

KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time between attempts."""
    monkeypatch.setattr(pool, "_FIRST", 0.02)


def rightly(requests: list[Request], replies: list[Reply | None]) -> None:
    """Hold every reply to what the stand-in says to that request."""
    for request, reply in zip(requests, replies, strict=True):
        assert reply is not None
        assert reply.error is None, reply.error
        messages = [{"role": role, "content": content} for role, content in request.messages]
        if reply.logprobs is not None:
            assert reply.logprobs["A"] - reply.logprobs["B"] == pytest.approx(log_odds(messages), abs=2e-4)
        elif not request.letters:
            assert reply.text == prose(messages, request.seed or 0, request.temperature, request.max_tokens)[0]


def test_every_row_has_its_own_answer_in_its_place(stand_in_server: StandIn) -> None:
    stand_in_server.set(latency=0.01, jitter=1)
    requests = questions(400)
    replies = answers(endpoint(stand_in_server, concurrency=50), requests)
    rightly(requests, replies)
    counted = stand_in_server.stats()
    assert (counted["requests"], counted["calls"]["repeated"]) == (400, 0)
    assert counted["most_in_flight"] <= 50
    assert counted["connections"] <= 50
    assert all(reply and reply.prompt_tokens and reply.cached_tokens is not None for reply in replies)


def test_two_askers_share_the_limit_and_each_gets_its_own(stand_in_server: StandIn) -> None:
    stand_in_server.set(latency=0.01)
    engine, found = endpoint(stand_in_server, concurrency=8), {}

    def ask(tag: str) -> None:
        requests = questions(100, tag=tag)
        found[tag] = requests, [reply for batch in engine.answer(requests, lambda: False) for reply in batch]

    threads = [threading.Thread(target=ask, args=(tag,)) for tag in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    for requests, replies in found.values():
        rightly(requests, [reply for _, reply in sorted(replies, key=lambda pair: pair[0])])
    assert stand_in_server.stats()["most_in_flight"] <= 8


def test_samples_of_one_answer_go_into_one_call(stand_in_server: StandIn) -> None:
    requests = tasks(5, samples=4)
    replies = answers(endpoint(stand_in_server), requests)
    rightly(requests, replies)
    counted = stand_in_server.stats()
    assert (counted["requests"], counted["calls"]["distinct"]) == (5, 20)
    assert [bool(reply and reply.prompt_tokens) for reply in replies] == [True, False, False, False] * 5, (
        "a sum over replies is one over calls"
    )


@pytest.mark.parametrize("way", ["known", "unforeseen", "refused"])
def test_a_server_that_gives_one_answer_at_a_time(stand_in_server: StandIn, way: str) -> None:
    stand_in_server.set(many=way == "refused", refuse=["n"] if way == "refused" else [])
    requests = tasks(5, samples=4)
    replies = answers(endpoint(stand_in_server, probe=KNOWN.model_copy(update={"many": way != "known"})), requests)
    rightly(requests, replies)
    assert len(set(texts(replies))) == 20
    assert stand_in_server.stats()["requests"] == {"known": 20, "unforeseen": 20, "refused": 25}[way]


def test_nothing_times_out_while_it_waits_for_its_turn(stand_in_server: StandIn) -> None:
    stand_in_server.set(latency=0.15)
    requests = [*questions(8), *tasks(4, samples=1)]
    began = time.monotonic()
    replies = answers(endpoint(stand_in_server, concurrency=1, floor=1, timeout=0.6, attempts=1), requests)
    rightly(requests, replies)
    assert time.monotonic() - began > 1.5
    assert stand_in_server.stats()["most_in_flight"] == 1


def test_a_call_that_takes_too_long_is_tried_again(stand_in_server: StandIn) -> None:
    stand_in_server.set(shares={"stall": 1}, bound=1, stall=5)
    requests = [*questions(6), *tasks(3, samples=1)]
    rightly(requests, answers(endpoint(stand_in_server, timeout=0.4), requests))
    stand_in_server.set(shares={"stall": 1}, stall=5)
    replies = answers(endpoint(stand_in_server, timeout=0.3, attempts=2), requests)
    assert {reply.error for reply in replies if reply} == {"no reply within 0.3 s (tried 2 times)"}
    assert stand_in_server.stats()["most_attempts"] == 2


@pytest.mark.parametrize("fault", ["500", "503", "drop", "drop-body", "torn", "html", "nan", "null-logprobs", "other-model", "no-choices"])
def test_what_may_heal_is_tried_so_often_and_no_oftener(stand_in_server: StandIn, fault: str) -> None:
    requests = [*questions(6), *tasks(2 * (fault not in ("nan", "null-logprobs")), samples=1)]
    stand_in_server.set(shares={fault: 1}, bound=2)
    rightly(requests, answers(endpoint(stand_in_server, attempts=3), requests))
    assert stand_in_server.stats()["most_attempts"] == 3
    stand_in_server.set(shares={fault: 1})
    replies = answers(endpoint(stand_in_server, attempts=3), requests)
    assert all(reply and reply.error and reply.error.endswith("(tried 3 times)") for reply in replies), replies
    counted = stand_in_server.stats()
    assert (counted["most_attempts"], counted["requests"]) == (3, 3 * len(requests))


def test_poison_is_one_failure_and_is_not_tried_again(stand_in_server: StandIn) -> None:
    poisoned = Request((("user", f"Say {POISON}"),), max_tokens=1, letters=LETTERS)
    written = Request((("user", f"Write {POISON}"),), max_tokens=9, seed=1)
    requests = [*questions(20), poisoned, written]
    replies = answers(endpoint(stand_in_server), requests)
    rightly(requests[:20], replies[:20])
    assert [reply.error for reply in replies[20:] if reply] == ["HTTP 400: This request cannot be processed."] * 2
    assert stand_in_server.stats()["requests"] == 22


@pytest.mark.parametrize("fault", ["429", "429-none", "429-date", "429-absurd"])
def test_one_call_in_five_refused_and_every_row_answered(stand_in_server: StandIn, fault: str) -> None:
    stand_in_server.set(shares={fault: 0.2}, draw="counter", latency=0.02)
    requests = questions(300)
    rightly(requests, answers(endpoint(stand_in_server, concurrency=50, attempts=1), requests))
    assert stand_in_server.stats()["faults"][fault] >= 60


def test_a_server_with_little_room_is_not_pushed(stand_in_server: StandIn) -> None:
    stand_in_server.set(capacity=6, latency=0.03)
    requests = questions(300)
    began = time.monotonic()
    rightly(requests, answers(endpoint(stand_in_server, concurrency=100, attempts=1), requests))
    counted = stand_in_server.stats()
    assert counted["most_in_flight"] == 6
    assert counted["faults"]["over capacity"] < 1000
    assert time.monotonic() - began < 8


def test_retry_after_is_kept_to(stand_in_server: StandIn) -> None:
    stand_in_server.set(shares={"429": 1}, bound=1, retry_after=0.7)
    requests = questions(3)
    began = time.monotonic()
    rightly(requests, answers(endpoint(stand_in_server), requests))
    assert time.monotonic() - began > 0.7
    assert stand_in_server.stats()["most_attempts"] == 2


def test_a_server_that_only_says_429_is_left_after_some_time(stand_in_server: StandIn) -> None:
    stand_in_server.set(shares={"429": 1})
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"servers\.judge\.patience: found nothing but 429 from .* for \d s \(HTTP 429: .*goes on from here"
    ):
        answers(endpoint(stand_in_server, patience=1.5), questions(400))
    assert 1.4 < time.monotonic() - began < 4
    assert stand_in_server.stats()["requests"] < 3000


def test_a_call_that_always_gets_a_429_fails_when_others_do_not(stand_in_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_server.set(latency=0.03)
    requests = questions(200)
    engine = endpoint(stand_in_server, concurrency=10, patience=0.2)
    post = engine._post

    async def never_seven(station: Station, request: Request, body: dict[str, Any]) -> bytes:
        if request is requests[7]:
            raise wire.Throttled("HTTP 429: not you", 0.0)
        return await post(station, request, body)

    monkeypatch.setattr(engine, "_post", never_seven)
    replies = answers(engine, requests)
    seven = replies.pop(7)
    assert seven is not None
    assert seven.error == "still throttled after 0 s of waiting: HTTP 429: not you"
    rightly(requests[:7] + requests[8:], replies)


def test_caps_on_requests_and_tokens_hold(stand_in_server: StandIn) -> None:
    requests = questions(60)
    began = time.monotonic()
    rightly(requests, answers(endpoint(stand_in_server, requests_per_minute=20 * 60), requests))
    assert 1.8 < time.monotonic() - began < 4
    assert all(count <= 45 for count, _ in stand_in_server.stats()["seconds"]), "one second's allowance to begin with"
    stand_in_server.clear()
    size = sum(len(content) for _, content in requests[0].messages) // 4 + 1
    began = time.monotonic()
    rightly(requests, answers(endpoint(stand_in_server, tokens_per_minute=20 * size * 60), requests))
    assert 1.8 < time.monotonic() - began < 4


def test_caps_hold_for_votes_as_well(stand_in_server: StandIn) -> None:
    stand_in_server.set(reads="none", many=False)
    probe = KNOWN.model_copy(update={"read": "votes", "many": False, "token_ids": None})
    began = time.monotonic()
    answers(endpoint(stand_in_server, probe=probe, requests_per_minute=20 * 60), questions(12, votes=5))
    assert 1.8 < time.monotonic() - began < 4
    assert stand_in_server.stats()["requests"] == 60


@pytest.mark.parametrize("many", [True, False])
def test_votes_are_counted_and_each_is_tried_for_itself(stand_in_server: StandIn, many: bool) -> None:
    stand_in_server.set(reads="none", many=many, shares={"500": 0.3}, bound=2, latency=0.005)
    probe = KNOWN.model_copy(update={"read": "votes", "many": many, "token_ids": None})
    requests = questions(20, votes=15)
    replies = answers(endpoint(stand_in_server, probe=probe, attempts=3), requests)
    for request, reply in zip(requests, replies, strict=True):
        assert reply is not None
        assert reply.votes is not None, reply
        assert (sum(reply.votes.values()), reply.logprobs, reply.error) == (15, None, None)
        share = 1 / (1 + math.exp(-log_odds([{"role": role, "content": content} for role, content in request.messages])))
        assert abs(reply.votes.get("A", 0) / 15 - share) < 0.45
        assert 15 <= (reply.completion_tokens or 0) <= 20
    counted = stand_in_server.stats()
    assert counted["calls"]["distinct"] == counted["calls"]["answered"] == 300
    assert counted["answered"] == (20 if many else 300), "no vote is paid for twice"


def test_a_stop_gives_what_is_in_flight_and_asks_no_more(stand_in_server: StandIn) -> None:
    stand_in_server.set(latency=0.2)
    requests = questions(200)
    count = 0

    def stop() -> bool:
        return count >= 10

    engine = endpoint(stand_in_server, concurrency=10)
    for batch in engine.answer(requests, stop):
        count += len(batch)
    asked = stand_in_server.stats()["requests"]
    assert asked == count <= 30
    time.sleep(0.3)
    engine.close()
    assert stand_in_server.stats()["requests"] == asked


@pytest.mark.parametrize("many", [True, False])
def test_a_stop_ends_the_ballots_that_have_begun(stand_in_server: StandIn, many: bool) -> None:
    stand_in_server.set(reads="none", many=many, latency=0.02)
    probe = KNOWN.model_copy(update={"read": "votes", "many": many, "token_ids": None})
    engine = endpoint(stand_in_server, probe=probe, concurrency=8)
    got: list[tuple[int, Reply]] = []

    def stop() -> bool:
        return len(got) > 5

    for batch in engine.answer(questions(200, votes=5), stop):
        got.extend(batch)
    engine.close()
    counted = stand_in_server.stats()
    assert 6 <= len(got) < 60
    assert counted["calls"]["answered"] == counted["calls"]["distinct"] == 5 * len(got), "nothing paid for and lost"


@pytest.fixture
def secret() -> Iterator[str]:
    os.environ["PREFLOOM_TEST_KEY"] = KEY
    yield "PREFLOOM_TEST_KEY"
    del os.environ["PREFLOOM_TEST_KEY"]


def test_a_wrong_key_ends_it_and_is_not_repeated(stand_in_server: StandIn, secret: str) -> None:
    stand_in_server.set(key="another-key")
    with pytest.raises(
        InputError, match=r"servers\.judge: found http://[\d.:]+/v1: HTTP 401: Incorrect API key provided: \[key\]\."
    ) as end:
        answers(endpoint(stand_in_server, key=secret), questions(50))
    assert KEY not in str(end.value)
    assert stand_in_server.stats()["requests"] < 100
    stand_in_server.set(key=KEY, shares={"401": 0.2}, bound=1)
    requests = [*questions(30), *tasks(10, samples=1)]
    rightly(requests, answers(endpoint(stand_in_server, key=secret), requests))
    stand_in_server.set(key=KEY, shares={"401": 0.3})
    replies = answers(endpoint(stand_in_server, key=secret, attempts=1), requests)
    failed = [reply.error for reply in replies if reply and reply.error]
    assert failed
    assert not [error for error in failed if KEY[:8] in error or "[key]" not in error]


@pytest.mark.parametrize("value", ["", "  ", "two\nlines", "sm\u00f6rg\u00e5s"])
def test_a_key_that_cannot_be_sent_is_said_at_once(secret: str, value: str) -> None:
    os.environ[secret] = value
    with pytest.raises(InputError, match=r"servers\.judge\.key: found \$PREFLOOM_TEST_KEY, which") as end:
        key_of("judge", Server(urls=["http://127.0.0.1:1/v1"], key=secret))
    assert not value.strip() or value.strip() not in str(end.value)


def test_a_fault_of_ours_is_heard_and_not_waited_for(stand_in_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = endpoint(stand_in_server)
    monkeypatch.setattr(engine, "_post", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answers(engine, questions(5))
