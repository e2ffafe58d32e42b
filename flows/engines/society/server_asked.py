"""What a client asks the simulated society's server for, read from JSON that nobody has checked.

    read_chat({"model": "good", "messages": [{"role": "user", "content": "…"}], "n": 2, "seed": 7}, ["good", "terse"])
    ->  Asked(model="good", conversations=((("user", "…"),),), n=2, seed=7, …)
    read_chat({"model": "good", "messages": "hello"}, …)    raises Refusal(400, "'messages' has to be …", param="messages")

Fields that a simulated model has no use for (top_p, penalties, …) are passed over, as a server does with what it does not know.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from prefloom.flows.engines.society.server_tokens import PIECE, decode
from prefloom.prompts import Messages
from prefloom.schemas.errors import nearest
from prefloom.schemas.texts import short, visible

MAX_MODEL_LEN = 131_072  # tokens; also bounds how long one request can keep the server busy
MOST_CHOICES = 128
_MOST_TEXTS = 2048  # inputs or prompts in one request, as OpenAI has it
_MOST_MESSAGES = 10_000
_FEW = 8  # tokens in which nothing but a letter can be said
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TAIL = 400  # characters of the last message in which a template names the letters
_CHOICE = re.compile(r"\b[A-Z0-9](?:, [A-Z0-9])*,? or [A-Z0-9]\b")

Body = Mapping[str, Any]


class Refusal(Exception):  # noqa: N818 - an outcome of a request, not a fault of ours
    """What is said instead of an answer, in OpenAI's shape."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> bytes:
        """`{"error": {"message": …, "type": …, "param": …, "code": …}}`."""
        kind = {429: "rate_limit_error", 500: "server_error"}.get(self.status, "invalid_request_error")
        return orjson.dumps({"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for text: chat (one conversation) or completion (one for each prompt)."""

    model: str
    conversations: tuple[Messages, ...]
    n: int
    max_tokens: int
    temperature: float
    seed: int | None
    logprobs: bool
    top: int  # likeliest tokens to name at each place
    wanted: tuple[str, ...]  # tokens to name at the first place, however unlikely
    letters: tuple[str, ...]  # what a judge has to choose from
    offered: bool  # whether the request names them, rather than we
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    schema: str | None
    chat: bool = True


def read_json(raw: bytes) -> Body:
    """The body, which has to be a JSON object."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {short(visible(str(error)), 200)}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body has to be a JSON object.")
    return body


def read_chat(body: Body, models: Collection[str]) -> Asked:
    """A chat completion."""
    model, messages = model_of(body, models), read_messages(body)
    logprobs, top = flag(body, "logprobs"), integer(body, "top_logprobs", 0, 20) or 0
    if top and not logprobs:
        raise Refusal(400, "'top_logprobs' needs 'logprobs': true.", "top_logprobs")
    limit = integer(body, "max_completion_tokens", 1, MAX_MODEL_LEN) or integer(body, "max_tokens", 1, MAX_MODEL_LEN)
    return _asked(body, model, (messages,), limit or MAX_MODEL_LEN, logprobs, top, chat=True)


def read_completion(body: Body, models: Collection[str]) -> Asked:
    """A text completion: each prompt is what a user says."""
    model, prompts = model_of(body, models), texts(body, "prompt")
    if body.get("echo"):
        raise Refusal(400, "'echo' is not supported: the society answers and continues nothing.", "echo")
    top = integer(body, "logprobs", 0, 20)
    conversations = tuple((("user", prompt),) for prompt in prompts)
    limit = integer(body, "max_tokens", 1, MAX_MODEL_LEN) or 16
    asked = _asked(body, model, conversations, limit, top is not None, top or 0, chat=False)
    if len(prompts) * asked.n > _MOST_TEXTS:
        raise Refusal(400, f"'n' times the number of prompts may be {_MOST_TEXTS} at most.", "n")
    return asked


def _asked(body: Body, model: str, conversations: tuple[Messages, ...], limit: int, logprobs: bool, top: int, chat: bool) -> Asked:
    wanted = _wanted(body) if logprobs else ()
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        _wrong("stream_options", "an object")
    temperature = number(body, "temperature", 0.0, 5.0)
    offers = _offers(conversations[0], wanted) if logprobs and limit <= _FEW else None
    return Asked(
        model,
        conversations,
        n=integer(body, "n", 1, MOST_CHOICES) or 1,
        max_tokens=limit,
        temperature=1.0 if temperature is None else temperature,
        seed=integer(body, "seed", -(2**63), 2**63 - 1 - MOST_CHOICES),
        logprobs=logprobs,
        top=top,
        wanted=wanted,
        letters=() if offers is None else offers or ("A", "B"),
        offered=bool(offers),
        stop=tuple(sequence for sequence in texts(body, "stop", optional=True) if sequence),
        stream=flag(body, "stream"),
        include_usage=bool(options and options.get("include_usage")),
        schema=_schema(body),
        chat=chat,
    )


def model_of(body: Body, models: Collection[str]) -> str:
    """The model that is asked; 404 if it is not here."""
    model = body.get("model")
    if not isinstance(model, str):
        _wrong("model", "a string")
    if model not in models:
        message = f"The model '{short(visible(model), 80)}' does not exist; {nearest(model, models)}"
        raise Refusal(404, message, "model", "model_not_found")
    return model


def read_messages(body: Body) -> Messages:
    """(role, content) of every message; text parts are joined."""
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        _wrong("messages", "a list of messages, one at least")
    if len(given) > _MOST_MESSAGES:
        _wrong("messages", f"a list of {_MOST_MESSAGES:,} messages at most")
    messages = []
    for place, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            _wrong(f"messages[{place}].role", f"one of {', '.join(_ROLES)}")
        messages.append((message["role"], _content(message.get("content"), place)))
    _fits(sum(len(content) for _, content in messages), "messages")
    return tuple(messages)


def _content(content: Any, place: int) -> str:
    if isinstance(content, str):
        return content
    parts = [] if content is None else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        _wrong(f"messages[{place}].content", "a string, or a list of text parts: the society reads nothing else")
    return "".join(part["text"] for part in parts)


def texts(body: Body, name: str, optional: bool = False) -> list[str]:
    """A string, or a list of strings."""
    given = body.get(name)
    if given is None and optional:
        return []
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list) or not (found or optional) or not all(isinstance(text, str) for text in found):
        _wrong(name, "a string or a list of strings")
    if len(found) > _MOST_TEXTS:
        _wrong(name, f"{_MOST_TEXTS:,} strings at most")
    _fits(max(map(len, found), default=0), name)
    return found


def integer(body: Body, name: str, low: int, high: int) -> int | None:
    """A whole number within bounds; None where nothing is given."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _wrong(name, f"a whole number from {low} to {high}")
    return value


def number(body: Body, name: str, low: float, high: float) -> float | None:
    """A finite number within bounds; None where nothing is given."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        _wrong(name, f"a number from {low:g} to {high:g}")
    return float(value)


def flag(body: Body, name: str, default: bool = False) -> bool:
    """True or false; the default where nothing is given."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        _wrong(name, "true or false")
    return default if value is None else value


def token_ids(body: Body, name: str, most: int) -> list[str]:
    """The pieces of text behind a list of token ids."""
    given = body.get(name)
    if not isinstance(given, list) or len(given) > most:
        _wrong(name, f"a list of {most:,} token ids at most")
    try:
        return [decode(token) for token in given]
    except ValueError as error:
        raise Refusal(400, f"'{name}': {error}.", name) from None


def _wanted(body: Body) -> tuple[str, ...]:
    return () if body.get("logprob_token_ids") is None else tuple(dict.fromkeys(token_ids(body, "logprob_token_ids", 128)))


def _offers(messages: Messages, wanted: Sequence[str]) -> tuple[str, ...]:
    """Letters among which a judge chooses: those whose tokens are asked for, else those that the end of the question names."""
    if letters := tuple(token for token in wanted if len(token) == 1):
        return letters
    named = _CHOICE.findall(messages[-1][1][-_TAIL:])
    return tuple(dict.fromkeys(re.findall(r"\b[A-Z0-9]\b", named[-1]))) if named else ()


def _schema(body: Body) -> str | None:
    form = body.get("response_format")
    if form is None:
        return None
    if not isinstance(form, dict):
        _wrong("response_format", "an object")
    outer = form.get("json_schema")
    schema = outer.get("schema") if isinstance(outer, dict) else None
    return orjson.dumps(schema, option=orjson.OPT_SORT_KEYS).decode() if isinstance(schema, dict) else None


def _fits(characters: int, name: str) -> None:
    if characters > PIECE * MAX_MODEL_LEN:
        message = f"'{name}' has {characters // PIECE:,} tokens; this model's maximum context length is {MAX_MODEL_LEN:,} tokens."
        raise Refusal(400, message, name, "context_length_exceeded")


def _wrong(name: str, expected: str) -> NoReturn:
    raise Refusal(400, f"'{name}' has to be {expected}.", name)
