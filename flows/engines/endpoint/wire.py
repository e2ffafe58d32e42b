"""What goes over the wire: the body of a call, and the replies in what comes back. Nothing that comes back is trusted.

    body(request, probe, thinking=False, n=1)   ->  {"model": "judge", "messages": […], "max_tokens": 1, "logprob_token_ids": [32, 33], …}
    read(raw, request, probe)                   ->  [Reply(text="A", logprobs={"A": -0.2103, "B": -1.8301}, prompt_tokens=412, …)]

What cannot be used raises: Transient (may heal when asked again), Throttled (later), Refused (this row never), Denied (no row ever).
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import orjson

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.probe import Probe
from prefloom.schemas.texts import short, visible

_MANY = 20  # top_logprobs that servers give at most
_EXACT = 1e-3  # a log-probability may be above zero by rounding, not by more
_DAY = 86_400.0  # seconds; a server that wants to be left alone for longer does not mean it


class Transient(Exception):  # noqa: N818 - outcomes of a call, not faults of ours
    """A reply that may be better the next time."""


class Unread(Transient):
    """An answer that says nothing of log-probabilities."""


class Unavailable(Transient):
    """A gateway says that there is no server behind it: this call may be unlucky, many of them in a row are not."""


class Throttled(Exception):  # noqa: N818
    """The server wants to be left alone for `seconds` (None: it does not say for how long)."""

    def __init__(self, detail: str, seconds: float | None) -> None:
        super().__init__(detail)
        self.seconds = seconds


class Refused(Exception):  # noqa: N818
    """The server will not answer this request, however often it is asked."""


class Denied(Exception):  # noqa: N818
    """The server will not answer anybody with this key, or does not know this model."""


class Unreachable(Exception):  # noqa: N818
    """Nobody listens there."""


def scrub(raw: bytes, key: str | None) -> bytes:
    """What a server sent, without the key that it was sent: it may stand in any field, and fields are kept and shown."""
    for form in {key, key.replace("/", "\\/"), quote(key, safe="")} if key else ():
        raw = raw.replace(form.encode(), b"[key]")
    return raw


def body(request: Request, probe: Probe, thinking: bool, n: int = 1, single: int | None = None) -> dict[str, Any]:
    """The JSON of a chat completion. `n` answers at once; `single` moves the seed to that of one of them."""
    value: dict[str, Any] = {
        "model": probe.model,
        "messages": [{"role": role, "content": content} for role, content in request.messages],
        probe.limit: request.max_tokens,
        "temperature": request.temperature,
    }
    if request.letters and request.votes:
        value |= {"temperature": 1.0, "seed": (request.seed or 0) + (single or 0), probe.limit: 4}
    elif request.letters:
        value |= _asked_for(request, probe)
    elif request.seed is not None:
        value["seed"] = request.seed + (single or 0)
    value |= dict(request.sampling)
    if n > 1:
        value["n"] = n
    if request.schema:
        schema = orjson.loads(request.schema)
        value["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    if probe.switch == "chat_template_kwargs":
        value["chat_template_kwargs"] = {"enable_thinking": thinking}
    elif probe.switch == "reasoning_effort" and not thinking:
        value["reasoning_effort"] = "none"
    return value


def _asked_for(request: Request, probe: Probe) -> dict[str, Any]:
    if probe.read == "logprob_token_ids" and probe.token_ids:
        return {"logprobs": True, "logprob_token_ids": [probe.token_ids[letter] for letter in request.letters]}
    return {"logprobs": True, "top_logprobs": _MANY}


def check(status: int, headers: Mapping[str, str], raw: bytes, key: str | None) -> None:
    """Raise what the status means, unless it is success. Servers quote the key that they were sent: it is in nothing that is raised."""
    if 200 <= status < 300:
        return
    detail = f"HTTP {status}: {_complaint(raw, key)}"
    if status in (429, 529) or (status == 503 and "retry-after" in headers):
        raise Throttled(detail, _seconds(headers.get("retry-after")))
    if status in (401, 403, 404, 405):
        raise Denied(detail)
    if status in (502, 503, 504):
        raise Unavailable(detail)
    if status in (408, 409, 425) or status >= 500 or status < 200:
        raise Transient(detail)
    raise Refused(detail)


def read(raw: bytes, request: Request, probe: Probe, key: str | None = None) -> list[Reply]:
    """One Reply for each choice, in their order; the first carries the tokens of the call. Transient if it is no usable completion."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Transient(f"not JSON: {_complaint(raw, key)}") from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices):
        raise Transient(f"no completion: {_complaint(raw, key)}")
    own = called({"model": probe.model})
    if (named := called(data)) is not None and named not in (own, probe.answers_as or own):
        raise Transient(f"answered as model '{short(named, 80)}', not as '{probe.answers_as or own}'")
    logprobs = bool(request.letters and not request.votes)
    ordered = sorted(choices, key=_place)
    replies = [
        Reply(_text(choice["message"]), _word(choice.get("finish_reason")), _logprobs(choice, request.letters) if logprobs else None)
        for choice in ordered
    ]
    usage = _mapping(data.get("usage"))
    details = _mapping(usage.get("prompt_tokens_details"))
    tokens = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(details.get("cached_tokens")))
    return metered(replies, *tokens)


def called(data: Mapping[str, Any]) -> str | None:
    """The name of the model in a reply, fit to be shown and kept."""
    named = data.get("model")
    return line(named, 200) if isinstance(named, str) else None


def line(text: str, size: int) -> str:
    """A server's word about itself, as one line that is safe to show and to keep."""
    return short(" ".join(visible(text).split()), size)


def metered(replies: Sequence[Reply], prompt: int | None, completion: int | None, cached: int | None) -> list[Reply]:
    """The replies of one call with its tokens: the first has them all, so that a sum over replies is a sum over calls."""
    rest = None if prompt is None or completion is None else 0
    cached = None if cached is None or rest is None else min(cached, prompt or 0)  # more than there was would be money back
    counts = [(prompt, completion, cached), *[(rest, rest, None)] * (len(replies) - 1)]
    return [
        Reply(r.text, r.finish_reason, r.logprobs, prompt_tokens=p, completion_tokens=c, cached_tokens=k)
        for r, (p, c, k) in zip(replies, counts, strict=True)
    ]


def choice_of(text: str | None, letters: Sequence[str]) -> str:
    """The letter that an answer consists of, with marks around it at most; "" for any other answer."""
    said = re.sub(r"^\W+|\W+$", "", text or "")
    return said if said in letters else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _place(choice: Mapping[str, Any]) -> int:
    return _count(choice.get("index")) or 0


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _word(value: Any) -> str | None:
    return line(value, 40) if isinstance(value, str) else None


def _logprobs(choice: Mapping[str, Any], letters: Sequence[str]) -> dict[str, float]:
    """Letter -> log-probability at the first token. The letters are looked up by their text: their places differ from reply to reply."""
    block = choice.get("logprobs")
    content = block.get("content") if isinstance(block, dict) else None
    entries = content[0].get("top_logprobs") if isinstance(content, list) and content and isinstance(content[0], dict) else None
    if not isinstance(entries, list) or not entries:
        raise Unread("a reply without log-probabilities")
    found: dict[str, float] = {}
    for entry in entries:
        token, value = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and token in letters:
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value > _EXACT:
                raise Transient(f"a log-probability of {short(visible(str(value)), 40)}")
            # Two tokens may read alike, such as a letter and its byte; the likelier one is meant.
            found[token] = max(found.get(token, -math.inf), round(min(0.0, value), 4))
    return found


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _seconds(value: str | None) -> float | None:
    """Retry-After: seconds, or a date. None for nonsense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds <= _DAY else None


def _complaint(raw: bytes, key: str | None) -> str:
    """What the server said, in a line that is safe to show."""
    text = raw[:8000].decode("utf-8", "replace")
    try:
        error = orjson.loads(raw)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    said = str(text).replace(key, "[key]") if key else str(text)
    return line(said[:4000], 300) or "nothing"
