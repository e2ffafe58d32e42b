"""Answers that have to be JSON: the server is given the schema, an answer that does not follow it gets one repair, then it is a failure.

    class Traits(BaseModel): age: int; likes: list[str]
    answers = ask_structured(session, requests, scopes, Traits)   ->  [Traits(age=41, likes=["brevity"]), Unfit("not JSON …"), …]

A server that does not know `response_format` ignores it without a word, so every answer is checked here, whatever the server promised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from prefloom.flows.engines.asking import Asks
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.prompts import load
from prefloom.schemas.texts import short, visible

_SHOWN = 4000  # characters of a bad answer that the model gets to see again
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Unfit:
    """Why there is no answer: for a rejected row."""

    reason: str  # error: no reply at all; not_json: a reply that does not follow the schema, twice
    detail: str


def ask_structured(
    session: Asks, requests: Sequence[Request], scopes: Sequence[str], kind: type[T], again: bool = False
) -> list[T | Unfit]:
    """One `kind` per request, or what became of it. Both rounds go through the journal, so neither is paid for twice.

    `again` asks once more what failed before: calls without a reply, and repairs that came to nothing.
    """
    schema = orjson.dumps(kind.model_json_schema(), option=orjson.OPT_SORT_KEYS).decode()
    asked = [replace(request, schema=schema) for request in requests]
    replies = session.ask(asked, scopes, _unanswered if again else None)
    answers = [_parse(reply, kind) for reply in replies]
    bad = [place for place, answer in enumerate(answers) if isinstance(answer, Unfit) and answer.reason == "not_json"]
    if not bad:
        return answers
    repairs = [_repair(asked[place], replies[place], answers[place]) for place in bad]
    repaired = session.ask(repairs, [scopes[place] for place in bad], (lambda r: isinstance(_parse(r, kind), Unfit)) if again else None)
    for place, reply in zip(bad, repaired, strict=True):
        answers[place] = _parse(reply, kind)
    return answers


def _unanswered(reply: Reply) -> bool:
    return reply.error is not None


def _parse(reply: Reply, kind: type[T]) -> T | Unfit:
    if reply.error is not None:
        return Unfit("error", reply.error)
    if reply.finish_reason == "length":
        return Unfit("not_json", "cut off before its end")
    try:
        return kind.model_validate_json(reply.text or "")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Unfit("not_json", short(visible(f"{place}: {first['msg']}" if place else str(first["msg"])), 300))


def _repair(request: Request, reply: Reply, answer: BaseModel | Unfit) -> Request:
    assert isinstance(answer, Unfit)
    said = ("assistant", (reply.text or "")[:_SHOWN])
    return replace(request, messages=(*request.messages, said, *load("structured/repair").render(fault=answer.detail)))
