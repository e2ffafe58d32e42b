"""Nothing that a server sends is trusted: every odd reply is a Reply, or raises what it means; never a fault of ours."""

import json
import math
import time
from email.utils import formatdate
from typing import Any

import pytest

from prefloom.flows.engines.endpoint import wire
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.probe import Probe

LETTERS = ("A", "B")
JUDGE = Request((("user", "Which?"),), max_tokens=1, letters=LETTERS)
WRITER = Request((("user", "Write."),), max_tokens=50, temperature=0.7, seed=4)
PROBE = Probe(model="m", read="logprob_token_ids", token_ids={"A": 32, "B": 33})
KEY = "sk-0123456789abcdef"


def entry(token: Any, logprob: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": None}


def choice(text: Any = "A", entries: Any = None, **fields: Any) -> dict[str, Any]:
    given = [entry("A", -0.25), entry("B", -1.5)] if entries is None else entries
    logprobs = {"content": [entry(text, -0.25) | {"top_logprobs": given}]}
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": logprobs} | fields


def reply(*choices: Any, **fields: Any) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    return json.dumps({"model": "m", "choices": list(choices), "usage": usage} | fields).encode()


def test_a_good_reply() -> None:
    (read,) = wire.read(reply(choice()), JUDGE, PROBE)
    assert read == Reply("A", "stop", {"A": -0.25, "B": -1.5}, prompt_tokens=10, completion_tokens=2, cached_tokens=4)


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<!doctype html><h1>Bad gateway</h1>",
    "torn": reply(choice())[:-20],
    "NaN": reply(choice(entries=[entry("A", math.nan), entry("B", -1)])),
    "infinite": reply(choice(entries=[entry("A", -math.inf), entry("B", -1)])),
    "beyond any float": reply(choice()).replace(b"-0.25", b"-1e999"),
    "null for NaN": reply(choice(entries=[entry("A", None), entry("B", -1)])),
    "a word for a number": reply(choice(entries=[entry("A", "-1"), entry("B", -1)])),
    "a bool for a number": reply(choice(entries=[entry("A", True), entry("B", -1)])),
    "above zero": reply(choice(entries=[entry("A", 0.5), entry("B", -1)])),
    "no log-probabilities": reply(choice(logprobs=None)),
    "log-probabilities left out": reply({"message": {"content": "A"}}),
    "empty log-probabilities": reply(choice(logprobs={"content": []})),
    "no entries": reply(choice(entries=[])),
    "a list of log-probabilities": reply(choice(logprobs=[1, 2])),
    "the old format": reply(choice(logprobs={"tokens": ["A"], "token_logprobs": [-1.0], "top_logprobs": [{"A": -1.0}]})),
    "a lone surrogate": reply(choice()).replace(b'"A"', b'"\\ud800"', 1),
    "bytes that are no text": reply(choice()).replace(b"stop", b"st\xff\xfep"),
    "deep nesting": b'{"choices":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "no choices": reply(),
    "choices that are none": reply(None, "A"),
    "a choice without a message": reply({"index": 0}),
    "null": b"null",
    "a list": b"[]",
    "a number": b"17",
    "an error with status 200": b'{"error": {"message": "out of memory"}}',
    "another model": reply(choice(), model="other"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_reply_that_cannot_be_used_may_be_better_the_next_time(name: str) -> None:
    with pytest.raises(wire.Transient) as caught:
        wire.read(HOSTILE[name], JUDGE, PROBE)
    said = str(caught.value)
    assert said.isprintable()
    assert 5 < len(said) < 500


def test_odd_parts_of_a_good_reply_are_left_out() -> None:
    for odd in (None, 7, [], {}, "x" * 100):
        (read,) = wire.read(reply(choice(None, finish_reason=odd), usage=odd), WRITER, PROBE)
        assert (read.text, read.logprobs, read.prompt_tokens, read.completion_tokens, read.cached_tokens) == ("", None, None, None, None)
        assert read.error is None
        assert len(read.finish_reason or "") < 80
    (read,) = wire.read(reply(choice(), model=17), JUDGE, PROBE)
    assert read.text == "A"


def test_a_text_stays_as_it_is_but_what_is_shown_does_not() -> None:
    text = "\x1b[31mred\x07\u202e\u200b\x00"
    (read,) = wire.read(reply(choice(text, finish_reason="st\x1bop")), WRITER, PROBE)
    assert (read.text, read.finish_reason) == (text, "st\\x1bop")


@pytest.mark.parametrize("count", [-1, True, 1.5, "10", None, 2**53, 10**30])
def test_counts_that_are_none_stay_unknown(count: Any) -> None:
    raw = reply(choice(), usage={"prompt_tokens": count, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}})
    if count == 10**30:  # orjson makes a float of it
        raw = raw.replace(b"1000000000000000000000000000000", b"1" + b"0" * 30)
    (read,) = wire.read(raw, JUDGE, PROBE)
    assert (read.prompt_tokens, read.completion_tokens, read.cached_tokens) == (None, 2, None)


def test_a_cache_cannot_hold_more_than_was_said() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2**52}}
    (read,) = wire.read(reply(choice(), usage=usage), JUDGE, PROBE)
    assert read.cached_tokens == 10, "more would be money back"


def test_choices_come_in_their_order_and_the_first_has_the_tokens() -> None:
    shuffled = [choice(text, index=i) for text, i in (("c", 2), ("a", 0), ("b", 1))]
    read = wire.read(reply(*shuffled), WRITER, PROBE)
    assert [r.text for r in read] == ["a", "b", "c"]
    assert [(r.prompt_tokens, r.completion_tokens) for r in read] == [(10, 2), (0, 0), (0, 0)]
    unmetered = wire.read(reply(*shuffled, usage=None), WRITER, PROBE)
    assert {(r.prompt_tokens, r.completion_tokens) for r in unmetered} == {(None, None)}
    strange = [choice(text, index=i) for text, i in (("a", None), ("b", "1"), ("c", -5), ("d", True))]
    assert [r.text for r in wire.read(reply(*strange), WRITER, PROBE)] == ["a", "b", "c", "d"]


def test_letters_are_found_by_their_text_wherever_they_stand() -> None:
    mixed = [entry(" A", -0.1), entry("B", -2), entry("AB", -0.3), None, 5, entry(7, -1), entry("A", -1.23456), entry("a", -0.2)]
    (read,) = wire.read(reply(choice("B", entries=mixed)), JUDGE, PROBE)
    assert read.logprobs == {"B": -2.0, "A": -1.2346}
    twice = [entry("A", -9.0), entry("A", -0.5), entry("A", -30)]
    (read,) = wire.read(reply(choice("A", entries=twice)), JUDGE, PROBE)
    assert read.logprobs == {"A": -0.5}, "a letter and its byte read alike; the likelier is meant"
    (read,) = wire.read(reply(choice("A", entries=[entry("A", 1e-5), entry("B", -9999.0)])), JUDGE, PROBE)
    assert read.logprobs == {"A": 0.0, "B": -9999.0}


def test_a_server_may_call_its_model_otherwise_if_the_probe_said_so() -> None:
    odd = "m-2026\x1b"
    probe = PROBE.model_copy(update={"answers_as": wire.called({"model": odd})})
    for name in ("m", odd):
        assert wire.read(reply(choice(), model=name), JUDGE, probe)
    with pytest.raises(wire.Transient, match="answered as model 'n', not as"):
        wire.read(reply(choice(), model="n"), JUDGE, probe)


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (400, {}, wire.Refused),
        (301, {}, wire.Refused),
        (413, {}, wire.Refused),
        (422, {}, wire.Refused),
        (401, {}, wire.Denied),
        (403, {}, wire.Denied),
        (404, {}, wire.Denied),
        (408, {}, wire.Transient),
        (500, {}, wire.Transient),
        (599, {}, wire.Transient),
        (502, {}, wire.Unavailable),
        (503, {}, wire.Unavailable),
        (503, {"retry-after": "3"}, wire.Throttled),
        (429, {}, wire.Throttled),
        (529, {}, wire.Throttled),
    ],
)
def test_what_a_status_means(status: int, headers: dict[str, str], meaning: type[Exception]) -> None:
    with pytest.raises(meaning, match=f"HTTP {status}: ") as caught:
        wire.check(status, headers, b'{"error": {"message": "no\\nway"}}', None)
    assert type(caught.value) is meaning
    assert str(caught.value).endswith("no way")
    wire.check(200, {}, b"", None)


def seconds(value: str | None) -> float | None:
    with pytest.raises(wire.Throttled) as caught:
        wire.check(429, {} if value is None else {"retry-after": value}, b"", None)
    return caught.value.seconds


def test_retry_after() -> None:
    assert seconds("2.5") == 2.5
    assert seconds("0") == 0
    assert seconds(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert seconds("Fri, 01 Jan 1999 00:00:00 GMT") == 0
    nonsense = (None, "", "soon", "-5", "nan", "inf", "1e9", "9" * 400, "Fri, 01 Jan 2200 00:00:00 GMT", "Fri, 99 Foo 2026 99:99:99 GMT")
    assert [seconds(value) for value in nonsense] == [None] * len(nonsense)


@pytest.mark.parametrize(
    "raw",
    [
        f'{{"error": {{"message": "Incorrect API key provided: {KEY}."}}}}'.encode(),
        f'{{"error": "{KEY}"}}'.encode(),
        f"<html>{KEY}</html>".encode(),
        b"x" * 290 + KEY.encode(),
        b" " * 3990 + KEY.encode(),
        json.dumps({"error": {"message": "y" * 295 + KEY}}).encode(),
    ],
)
def test_a_key_is_in_no_complaint_not_even_in_part(raw: bytes) -> None:
    for status in (401, 429, 400, 500):
        with pytest.raises(Exception, match=f"HTTP {status}") as caught:
            wire.check(status, {}, raw, KEY)
        assert KEY[:6] not in str(caught.value)
    with pytest.raises(wire.Transient) as caught:
        wire.read(raw, JUDGE, PROBE, KEY)
    assert KEY[:6] not in str(caught.value)


def test_a_complaint_is_one_short_line() -> None:
    for message in ("\x1b[2J\x07gone\u202e", "a\n\n\tb", "z" * 10**6, "", None, ["a"], {"b": 1}, 5):
        for body in ({"error": {"message": message}}, {"error": message}, message):
            with pytest.raises(wire.Refused) as caught:
                wire.check(400, {}, json.dumps(body).encode(), None)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 400


def test_what_is_asked() -> None:
    judge = wire.body(JUDGE, PROBE, thinking=False)
    assert (judge["logprob_token_ids"], judge["logprobs"], judge["max_tokens"], judge["temperature"]) == ([32, 33], True, 1, 0.0)
    assert "top_logprobs" not in judge
    assert "seed" not in judge
    assert wire.body(JUDGE, Probe(model="m", read="top_logprobs"), thinking=False)["top_logprobs"] == 20
    votes = Request(JUDGE.messages, max_tokens=1, letters=LETTERS, votes=5)
    assert [wire.body(votes, PROBE, thinking=False, single=i)["seed"] for i in range(3)] == [0, 1, 2]
    assert "logprobs" not in wire.body(votes, PROBE, thinking=False)
    several = wire.body(WRITER, PROBE, thinking=False, n=3)
    assert (several["n"], several["seed"], several["temperature"]) == (3, 4, 0.7)
    assert "n" not in wire.body(WRITER, PROBE, thinking=False)
    assert "max_completion_tokens" in wire.body(WRITER, PROBE.model_copy(update={"limit": "max_completion_tokens"}), thinking=False)


def test_the_switch_for_thinking() -> None:
    template = PROBE.model_copy(update={"switch": "chat_template_kwargs"})
    assert [wire.body(WRITER, template, thinking)["chat_template_kwargs"] for thinking in (True, False)] == [
        {"enable_thinking": True},
        {"enable_thinking": False},
    ]
    effort = PROBE.model_copy(update={"switch": "reasoning_effort"})
    assert wire.body(WRITER, effort, thinking=False)["reasoning_effort"] == "none"
    for probe, thinking in ((effort, True), (PROBE, False), (PROBE, True)):
        assert not {"reasoning_effort", "chat_template_kwargs"} & wire.body(WRITER, probe, thinking).keys()


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("A", "A"),
        (" B.", "B"),
        ("**A**", "A"),
        ("(B)", "B"),
        ('"A"', "A"),
        ("\n\nB\n", "B"),
        ("a", ""),
        ("Answer A", ""),
        ("AB", ""),
        ("A or B", ""),
        ("A_", ""),
        ("\u0410", ""),  # a Cyrillic letter that looks like it
        ("", ""),
        (None, ""),
        ("C", ""),
    ],
)
def test_which_letter_an_answer_chooses(said: str | None, chosen: str) -> None:
    assert wire.choice_of(said, LETTERS) == chosen
