"""Answers that have to be JSON: checked whatever the server promised, repaired once, paid for once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.asking import Session, asking
from prefloom.flows.engines.endpoint import pool
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.structured import Unfit, ask_structured
from tests.flows.engines.endpoint.conversation import endpoint
from tests.helpers import resolved
from tests.stand_in import StandIn
from tests.stand_in_faults import POISON


class Traits(BaseModel):
    age: int
    likes: list[str]


REQUESTS = [Request((("user", f"Who is number {i}?"),), max_tokens=100, seed=3) for i in range(6)]
SCOPES = ["s1"] * 3 + ["s2"] * 3


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(pool, "_FIRST", 0.02)
    run = Run.create(tmp_path, resolved())
    run.store_recipe()
    return run


@contextmanager
def session(run: Run, server: StandIn) -> Iterator[Session]:
    engine = endpoint(server, attempts=2)
    run.journal(engine.identity).seal()
    try:
        with asking(engine, run, ["s1", "s2"]) as opened:
            yield opened
    finally:
        engine.close()


def ask(run: Run, server: StandIn, requests: list[Request] = REQUESTS) -> tuple[list[Traits | Unfit], int]:
    """(answers, how many calls were made for them)."""
    with session(run, server) as opened:
        answers = ask_structured(opened, requests, SCOPES[: len(requests)], Traits)
        return answers, opened.asked


@pytest.mark.parametrize(("way", "rounds", "valid"), [("valid", 1, True), ("once", 2, True), ("invalid", 2, False), ("ignored", 2, False)])
def test_one_repair_and_then_it_is_a_failure(run: Run, stand_in_server: StandIn, way: str, rounds: int, valid: bool) -> None:
    stand_in_server.set(json=way)
    answers, asked = ask(run, stand_in_server)
    assert asked == 6 * rounds
    if valid:
        assert all(isinstance(answer, Traits) and answer.likes for answer in answers)
    else:
        assert all(isinstance(answer, Unfit) and answer.reason == "not_json" and "JSON" in answer.detail for answer in answers)
    before = stand_in_server.stats()["requests"]
    assert ask(run, stand_in_server) == (answers, 0), "both rounds are in the journal"
    assert stand_in_server.stats()["requests"] == before == 6 * rounds


def test_no_reply_is_not_repaired(run: Run, stand_in_server: StandIn) -> None:
    poisoned = Request((("user", f"Who is {POISON}?"),), max_tokens=100)
    answers, asked = ask(run, stand_in_server, [*REQUESTS[:2], poisoned])
    assert [type(answer) for answer in answers] == [Traits, Traits, Unfit]
    assert answers[2] == Unfit("error", "HTTP 400: This request cannot be processed.")
    assert asked == 3


def test_an_answer_that_was_cut_off_or_is_hostile_is_repaired(run: Run, stand_in_server: StandIn) -> None:
    stand_in_server.set(shares={"length": 0.4, "control": 0.3, "null-content": 0.3}, bound=1, many=False)
    answers, asked = ask(run, stand_in_server)
    assert asked == 12
    for answer in answers:  # the second request is of other content, and may meet a fault of its own
        assert isinstance(answer, Traits) or (answer.reason == "not_json" and answer.detail.isprintable())
