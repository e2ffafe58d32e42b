"""Nothing is paid for twice, and an answer is on disk before it is used."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import asking as asking_module
from prefloom.flows.engines.asking import asking
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.usage import Usage
from tests.helpers import resolved


class Echo:
    """Answers with its own request, last batch first, and counts."""

    identity, free, votes, in_flight = "echo@1", True, 0, 2

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.fail = False

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        for start in reversed(range(0, len(requests), 2)):
            batch = list(enumerate(requests))[start : start + 2]
            self.asked += [request for _, request in batch]
            yield [(i, Reply(error="busy") if self.fail else Reply(text=request.messages[0][1], prompt_tokens=3)) for i, request in batch]


REQUESTS = [Request((("user", f"question {n}"),), max_tokens=1) for n in range(5)]
SCOPES = ["s1", "s1", "s2", "s2", "s2"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, resolved())


def ask(engine: Echo, run: Run, requests: list[Request], again: bool = False) -> tuple[list[Reply], int, int]:
    run.journal("echo@1").seal()
    with asking(engine, run, ["s1", "s2"]) as session:
        replies = session.ask(requests, SCOPES[: len(requests)], (lambda reply: reply.error is not None) if again else None)
    return replies, session.asked, session.from_journal


def test_replies_come_in_order_and_once(run: Run) -> None:
    engine = Echo()
    replies, asked, held = ask(engine, run, REQUESTS)
    assert [reply.text for reply in replies] == [f"question {n}" for n in range(5)]
    assert (asked, held) == (5, 0)
    again, asked, held = ask(engine, run, REQUESTS)
    assert (again, asked, held, len(engine.asked)) == (replies, 0, 5, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (("user", "question 0 "),)},
        {"messages": (("system", "question 0"),)},
        {"max_tokens": 2},
        {"temperature": 0.5},
        {"seed": 1},
        {"letters": ("A", "B")},
        {"repeat": 1},
        {"votes": 3},
        {"sampling": (("top_p", 0.9),)},
        {"schema": "{}"},
    ],
)
def test_whatever_could_change_the_answer_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(REQUESTS[0], **change).key("m") != REQUESTS[0].key("m")  # type: ignore[arg-type]
    assert REQUESTS[0].key("m") != REQUESTS[0].key("n")


def test_the_group_is_no_part_of_the_call() -> None:
    assert replace(REQUESTS[0], group="x") == REQUESTS[0]
    assert replace(REQUESTS[0], group="x").key("m") == REQUESTS[0].key("m")


def test_memory_is_bounded_and_a_scope_that_comes_again_too_late_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_module, "REMEMBERED", 2)
    with asking(Echo(), run, ["s1", "s2"]) as session:
        session.ask(REQUESTS[:2], SCOPES[:2])
        session.ask(REQUESTS[2:], SCOPES[2:])
        session.ask(REQUESTS[2:], SCOPES[2:])
        with pytest.raises(RuntimeError, match="scope s1 comes again"):
            session.ask(REQUESTS[:2], SCOPES[:2])
    assert session.asked == 5


def test_failures_are_kept_until_they_are_asked_again(run: Run) -> None:
    engine = Echo()
    engine.fail = True
    assert all(reply.error == "busy" for reply in ask(engine, run, REQUESTS)[0])
    engine.fail = False
    assert ask(engine, run, REQUESTS)[1:] == (0, 5)
    replies, asked, _ = ask(engine, run, REQUESTS, again=True)
    assert (asked, replies[4].text) == (5, "question 4")
    assert ask(engine, run, REQUESTS, again=True)[1:] == (0, 5)


def test_an_answer_is_journaled_before_it_is_used(run: Run) -> None:
    class Dies(Echo):
        def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
            yield from list(super().answer(requests, stop))[:1]
            raise RuntimeError("the server is gone")

    with pytest.raises(RuntimeError, match="gone"):
        ask(Dies(), run, REQUESTS)
    engine = Echo()
    assert ask(engine, run, REQUESTS)[1:] == (4, 1)


def test_an_engine_that_skips_a_request_is_a_failure_not_a_gap(run: Run) -> None:
    class Skips(Echo):
        def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
            yield from list(super().answer(requests, stop))[:1]

    replies = ask(Skips(), run, REQUESTS)[0]
    assert [reply.error for reply in replies] == ["the engine gave no reply"] * 4 + [None]


def test_usage_is_of_distinct_calls_and_what_is_unknown_is_counted_apart(run: Run) -> None:
    class Metered(Echo):
        def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
            for batch in super().answer(requests, stop):
                yield [(i, replace(reply, completion_tokens=1) if reply.text != "question 0" else reply) for i, reply in batch]

    whole = Usage(calls=5, prompt_tokens=12, completion_tokens=4, unmetered=1)
    for paid in (whole, Usage()):
        run.journal("echo@1").seal()
        with asking(Metered(), run, ["s1", "s2"]) as session:
            for chunk in (slice(3), slice(2, 5), slice(5)):
                session.ask(REQUESTS[chunk], SCOPES[chunk])
        assert (session.usage, session.paid) == (whole, paid)
