"""Nothing is paid for twice, and an answer is on disk before it is used."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from prefloom.flows.dataset.journal import Journal
from prefloom.flows.engines.asking import asking
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.usage import Usage


class Echo:
    """Answers with its own request, last batch first, and counts."""

    identity = "echo@1"

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.fail = False

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        for start in reversed(range(0, len(requests), 2)):
            batch = list(enumerate(requests))[start : start + 2]
            self.asked += [request for _, request in batch]
            yield [(i, Reply(error="busy") if self.fail else Reply(text=request.messages[0][1], prompt_tokens=3)) for i, request in batch]


REQUESTS = [Request((("user", f"question {n}"),), max_tokens=1) for n in range(5)]
SCOPES = ["s1", "s1", "s2", "s2", "s2"]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "echo")


def ask(engine: Echo, journal: Journal, requests: list[Request], again: bool = False) -> tuple[list[Reply], int, int]:
    journal.seal()
    with asking(engine, journal, ["s1", "s2"]) as session:
        replies = session.ask(requests, SCOPES[: len(requests)], (lambda reply: reply.error is not None) if again else None)
    return replies, session.asked, session.from_journal


def test_replies_come_in_order_and_once(journal: Journal) -> None:
    engine = Echo()
    replies, asked, held = ask(engine, journal, REQUESTS)
    assert [reply.text for reply in replies] == [f"question {n}" for n in range(5)]
    assert (asked, held) == (5, 0)
    again, asked, held = ask(engine, journal, REQUESTS)
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
    ],
)
def test_whatever_could_change_the_answer_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(REQUESTS[0], **change).key("m") != REQUESTS[0].key("m")  # type: ignore[arg-type]
    assert REQUESTS[0].key("m") != REQUESTS[0].key("n")


def test_failures_are_kept_until_they_are_asked_again(journal: Journal) -> None:
    engine = Echo()
    engine.fail = True
    assert all(reply.error == "busy" for reply in ask(engine, journal, REQUESTS)[0])
    engine.fail = False
    assert ask(engine, journal, REQUESTS)[1:] == (0, 5)
    replies, asked, _ = ask(engine, journal, REQUESTS, again=True)
    assert (asked, replies[4].text) == (5, "question 4")
    assert ask(engine, journal, REQUESTS, again=True)[1:] == (0, 5)


def test_an_answer_is_journaled_before_it_is_used(journal: Journal) -> None:
    class Dies(Echo):
        def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
            yield from list(super().answer(requests))[:1]
            raise RuntimeError("the server is gone")

    with pytest.raises(RuntimeError, match="gone"):
        ask(Dies(), journal, REQUESTS)
    engine = Echo()
    assert ask(engine, journal, REQUESTS)[1:] == (4, 1)


def test_an_engine_that_skips_a_request_is_a_failure_not_a_gap(journal: Journal) -> None:
    class Skips(Echo):
        def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
            yield from list(super().answer(requests))[:1]

    replies = ask(Skips(), journal, REQUESTS)[0]
    assert [reply.error for reply in replies] == ["the engine gave no reply"] * 4 + [None]


def test_usage_is_of_distinct_calls_and_what_is_unknown_is_counted_apart(journal: Journal) -> None:
    class Metered(Echo):
        def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
            for batch in super().answer(requests):
                yield [(i, replace(reply, completion_tokens=1) if reply.text != "question 0" else reply) for i, reply in batch]

    whole = Usage(calls=5, prompt_tokens=12, completion_tokens=4, unmetered=1)
    for paid in (whole, Usage()):
        journal.seal()
        with asking(Metered(), journal, ["s1", "s2"]) as session:
            for chunk in (REQUESTS[:3], REQUESTS[2:], REQUESTS):
                session.ask(chunk, SCOPES[: len(chunk)])
        assert (session.usage, session.paid) == (whole, paid)
