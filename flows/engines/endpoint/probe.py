"""What a server is, found out by asking: who it is, which model it has, how a judge's letters can be read there.

    await probe(settings, known, urls, key, letters=("A", "B"))
    ->  Probe(model="judge", server="vllm", version="0.32.0", template="5f0c…", read="logprob_token_ids", token_ids={"A": 32, "B": 33}, …)

A judge's letters are read by the first way that works: `logprob_token_ids` (vLLM: exactly the letters, however unlikely), `top_logprobs`
(the 20 likeliest tokens), sampled votes. A server that ignores a field says nothing about it, so every way is judged by what came back.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import orjson

from prefloom.flows.engines.endpoint import client as slow
from prefloom.flows.engines.endpoint import flood, wire
from prefloom.flows.engines.endpoint.flood import open_session
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.ids import content_hash
from prefloom.schemas.models import EndpointModel, ReadMethod
from prefloom.schemas.probe import Probe

_CHAT = (("system", "You are helpful."), ("user", "Is a rose a flower?"), ("assistant", "Yes."), ("user", "Is a stone?"))
_WAYS: tuple[ReadMethod, ...] = ("logprob_token_ids", "top_logprobs", "votes")
_ATTEMPTS = 6
_FEW = 3  # for what a server may not know at all
_PAUSE = 0.1  # seconds before the second attempt, twice as many before each further one
_LONGEST = 30.0  # that a server which says 429 gets before the next


class Prober:
    """One conversation with the servers of a model."""

    def __init__(
        self, name: str, model: EndpointModel, urls: Sequence[str], key: str | None, timeout: float, patience: float = 60.0
    ) -> None:
        self.name, self.model, self.urls, self.key = name, model, urls, key
        self.timeout, self.patience = min(timeout, 120.0), patience
        self.found = Probe(model=model.model, revision=model.revision)
        self._named: str | None = None  # what the latest reply called its model

    async def probe(self, letters: tuple[str, ...]) -> Probe:
        """Ask all that there is to ask. `letters` are those that a judge is to choose from; none for a model that only writes."""
        async with open_session(self.urls[0], self.key, self.timeout) as session:
            for url in self.urls:
                await self._models(session, url)
            await self._version(session)
            await self._template(session, letters)
        async with slow.open_client(self.urls[0], self.key, self.timeout) as client:
            await self._answers(client)
            if letters:
                await self._letters(client, letters)
        return self.found

    def _note(self, **facts: Any) -> None:
        self.found = self.found.model_copy(update=facts)

    def _fault(self, found: str, expected: str, field: str = "urls") -> InputError:
        return InputError("recipe", f"servers.{self.name}.{field}", found=self._safe(found), expected=expected)

    def _safe(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text

    async def _models(self, session: aiohttp.ClientSession, url: str) -> None:
        """Every server has to be there, and to have the model, if it tells which it has."""
        status, data = await self._get(session, f"{url}/models")
        if status in (401, 403):
            found = f"{url} says HTTP {status}" + ("" if self.key else ", and no key is named")
            raise self._fault(found, "the name of an environment variable that holds a valid key", "key")
        entries = data.get("data") if isinstance(data, dict) else None
        if status != 200 or not isinstance(entries, list):
            return
        models = {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
        if models and self.model.model not in models:
            place = InputError(
                "recipe", f"models.{self.name}.model", found=f"'{self.model.model}'", expected=nearest(self.model.model, models)
            )
            raise InputError("recipe", place.field, found=f"{place.found}, which {url} does not serve", expected=place.expected)
        if self.model.model in models and isinstance(longest := models[self.model.model].get("max_model_len"), int):
            self._note(max_model_len=longest)
        if self.model.model in models and isinstance(owner := models[self.model.model].get("owned_by"), str):
            self._note(server=wire.line(owner, 40))

    async def _version(self, session: aiohttp.ClientSession) -> None:
        status, data = await self._get(session, f"{_root(self.urls[0])}/version")
        if status == 200 and isinstance(data, dict) and isinstance(data.get("version"), str):
            self._note(version=wire.line(data["version"], 80))

    async def _template(self, session: aiohttp.ClientSession, letters: Sequence[str]) -> None:
        """What a conversation becomes, and what the letters are, in the model's own tokens (vLLM tells)."""
        chat = {"model": self.model.model, "add_generation_prompt": True}
        chat["messages"] = [{"role": role, "content": content} for role, content in _CHAT]
        on, off = [
            await self._tokens(session, chat | {"chat_template_kwargs": {"enable_thinking": thinking}}) for thinking in (True, False)
        ]
        used = on if self.model.thinking else off
        if used is None:
            return
        self._note(template=content_hash(used, size=6), switch="chat_template_kwargs" if on != off else None)
        ids = {
            letter: await self._tokens(session, {"model": self.model.model, "prompt": letter, "add_special_tokens": False})
            for letter in letters
        }
        if letters and all(tokens is not None and len(tokens) == 1 for tokens in ids.values()):
            self._note(token_ids={letter: tokens[0] for letter, tokens in ids.items() if tokens})

    async def _tokens(self, session: aiohttp.ClientSession, asked: dict[str, Any]) -> list[int] | None:
        status, data = await self._get(session, f"{_root(self.urls[0])}/tokenize", asked)
        if status == 429 or (status >= 500 and status != 501) or (status == 200 and data is None):
            # Not to know the template is to be another model, whose answers are all asked again.
            raise self._fault(f"HTTP {status} from /tokenize", "a server that is ready; try again")
        tokens = data.get("tokens") if status == 200 and isinstance(data, dict) else None
        return tokens if isinstance(tokens, list) and all(type(token) is int and token >= 0 for token in tokens) else None

    async def _get(self, session: aiohttp.ClientSession, url: str, asked: dict[str, Any] | None = None) -> tuple[int, Any]:
        """(status, JSON or None) of a GET, or of a POST of what is asked. A server that is busy gets some time."""
        method, body = ("GET", None) if asked is None else ("POST", orjson.dumps(asked))
        for attempt in range(_ATTEMPTS):
            try:
                async with session.request(method, url, data=body, allow_redirects=False) as response:
                    raw = wire.scrub(await flood.whole(response), self.key)
            except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError, wire.Transient) as error:
                if attempt + 1 < _ATTEMPTS and not isinstance(error, wire.Transient | UnicodeError):
                    await asyncio.sleep(_PAUSE * 2**attempt)  # one that is being started again
                    continue
                raise self._fault(f"{url}: {error or type(error).__name__}", "a server that runs there") from None
            status, data = response.status, _json(raw)
            if not (status in (429, 502, 503, 504) or (status == 200 and data is None)):
                break
            await asyncio.sleep(_PAUSE * 2**attempt)
        return status, data

    async def _answers(self, client: Any) -> None:
        """Whether it answers at all, under which name, with how many answers at once, and whether it counts tokens."""
        asked = Request((("user", "Say yes."),), max_tokens=1, temperature=1.0, seed=1)
        try:
            await self._ask(client, asked)
        except wire.Refused as error:
            if "max_completion_tokens" not in str(error):
                raise self._fault(str(error), "a server that answers a chat completion") from None
            self._note(limit="max_completion_tokens")
        if self.found.template is None and not self.model.thinking:
            await self._hush(client, asked)
        (reply, *_) = await self._ask(client, asked)
        self._note(metered=reply.prompt_tokens is not None and reply.completion_tokens is not None)
        await self._constraint(client)
        try:
            self._note(many=len(await self._ask(client, asked, n=2, attempts=_FEW)) == 2)
        except (wire.Refused, InputError):
            self._note(many=False)

    async def _hush(self, client: Any, asked: Request) -> None:
        """A server that does not show its chat template may still take an order not to think."""
        self._note(switch="reasoning_effort")
        try:
            await self._ask(client, asked)
        except (wire.Refused, InputError):
            self._note(switch=None)

    async def _constraint(self, client: Any) -> None:
        """Whether an answer follows a schema: a server that does not know the field ignores it in silence."""
        schema = {"type": "object", "properties": {"n": {"enum": [417]}}, "required": ["n"], "additionalProperties": False}
        asked = Request((("user", "Name a colour."),), max_tokens=24, schema=orjson.dumps(schema).decode())
        try:
            (reply, *_) = await self._ask(client, asked, attempts=_FEW)
            # A small model may fill its tokens with spaces before it comes to the number.
            self._note(constrained=(reply.text or "").lstrip().startswith("{"))
        except (wire.Refused, InputError):
            self._note(constrained=False)

    async def _letters(self, client: Any, letters: tuple[str, ...]) -> None:
        wanted = _WAYS if self.model.read == "auto" else (self.model.read,)
        question = f"Which letter comes first in the alphabet, {' or '.join(letters)}? Answer with one letter and nothing else."
        for way in wanted:
            if way == "logprob_token_ids" and self.found.token_ids is None:
                continue
            self._note(read=way)
            if way == "votes":
                return
            asked = Request((("user", question),), max_tokens=1, letters=letters)
            try:
                (reply, *_) = await self._ask(client, asked)
            except (wire.Refused, wire.Unread):
                continue
            except InputError:
                await self._ask(client, replace(asked, letters=()))  # is it this way that does not work, or the whole server?
                continue
            got = reply.logprobs or {}
            if got.keys() == set(letters) or (way == "top_logprobs" and got):
                self._note(mass=round(min(1.0, sum(math.exp(value) for value in got.values())), 4))
                return
        found = f"'{self.model.read}', which {self.urls[0]} does not support for this model"
        raise InputError("recipe", f"models.{self.name}.read", found=found, expected="auto, or votes")

    async def _ask(self, client: Any, asked: Request, n: int = 1, attempts: int = _ATTEMPTS) -> list[Reply]:
        """The answers. A server that is busy, or gives something that is no answer, gets some time."""
        attempt, waited = 0, 0.0
        while True:
            pause = _PAUSE * 2**attempt
            try:
                raw = await slow.complete(client, wire.body(asked, self.found, self.model.thinking, n))
                self._known(raw)
                return wire.read(raw, asked, self.found, self.key)
            except wire.Throttled as error:
                what = str(error)
                if waited < self.patience:
                    await asyncio.sleep(pause := min(_LONGEST, max(error.seconds or 0.0, 0.25 + waited / 2)))
                    waited += pause
                    continue
            except wire.Unread:
                if attempt + 1 >= _FEW:
                    raise
            except (wire.Transient, wire.Unreachable, TimeoutError) as error:
                what = str(error) or f"no reply within {self.timeout:g} s"
            except wire.Denied as error:
                what = str(error)
                if attempt + 1 >= _FEW:
                    raise self._fault(what, "a server that knows this model, and a valid key") from None
            attempt += 1
            if attempt >= attempts:
                raise self._fault(what, "a server that answers a chat completion")
            await asyncio.sleep(pause)

    def _known(self, raw: bytes) -> None:
        """A name that a server gives its model twice in a row is one of its names."""
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return
        before, self._named = self._named, wire.called(data) if isinstance(data, dict) else None
        if self._named == before and self._named not in (None, wire.called({"model": self.model.model})):
            self._note(answers_as=self._named)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _root(url: str) -> str:
    return url.removesuffix("/v1")
