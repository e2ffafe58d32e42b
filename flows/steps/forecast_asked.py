"""What `plan` has in place of a session: replies that are journaled, those of free engines tried out, and "later" for the rest.

    foreseen = Foreseen(run, uses, "scholar")
    foreseen.ask(requests, scopes)        ->  [Reply("Explain tides."), Reply(error="not known before the call is made"), …]
    foreseen.usage, foreseen.left         ->  Usage(calls=100, …), Usage(calls=40, …)

By it the prompts that models write, and the views that they list, are made in memory as a build makes them. Nothing is written. A plan
counts the first wave of calls; what of it will be rejected and asked again is not known where replies are not.
"""

import time
from collections.abc import Callable, Sequence

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import read_reply
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps.freshness import Materials
from prefloom.flows.steps.written import LATER
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage


class Foreseen:
    """One model, as far as its replies can be known before it is asked."""

    def __init__(self, run: Run, uses: Materials, name: str) -> None:
        self.name, self._identity = name, uses.models[name]
        self._engine = open_engine(run, name)
        self._glance = run.journal(self._identity).glance()
        self._rate = run.resolved.recipe.rates.get(name) or Rate()
        self._replies: dict[str, Reply] = {}
        self.fresh: list[tuple[str, Reply]] = []  # (scope, reply) of those that are known but not journaled
        self.usage = self.left = Usage()
        self.unknown = 0
        self.pace: float | None = None

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:  # noqa: ARG002 - asks nobody
        """One reply per request; an error that says so where none is known. `again` changes nothing."""
        named = dict(zip((request.key(self._identity) for request in requests), zip(requests, scopes, strict=True), strict=False))
        wanted = [key for key in named if key not in self._replies]
        held = {key: reply for key, raw in self._glance.replies(wanted).items() if (reply := read_reply(raw))}
        missing = [key for key in wanted if key not in held]
        tried = self._try([named[key][0] for key in missing]) if self._engine.free and missing else [Reply(error=LATER)] * len(missing)
        self._replies |= held | dict(zip(missing, tried, strict=True))
        for key in wanted:
            used = self._used(named[key][0], self._replies[key])
            self.usage += used
            if key not in held:
                self.left += used
                later = self._replies[key].error == LATER
                self.unknown += later
                self.fresh += [] if later else [(named[key][1], self._replies[key])]
        return [self._replies[request.key(self._identity)] for request in requests]

    def _try(self, requests: Sequence[Request]) -> list[Reply]:
        began = time.perf_counter()
        found = {place: reply for batch in self._engine.answer(requests, lambda: False) for place, reply in batch}
        self.pace = len(found) / max(time.perf_counter() - began, 1e-6)
        return [found[place] for place in range(len(requests))]

    def _used(self, request: Request, reply: Reply) -> Usage:
        per_token = self._rate.characters_per_token
        asked = reply.prompt_tokens or round(sum(len(content) for _, content in request.messages) / per_token)
        if reply.error == LATER:
            return Usage(1, asked, min(request.max_tokens, round(self._rate.answer_tokens or request.max_tokens)))
        return Usage(1, asked, reply.completion_tokens or round(len(reply.text or "") / per_token))

    def basis(self, what: str) -> str:
        """What the forecast of prompts or views rests on."""
        known = self.usage.calls - self.unknown
        said = f"{what} by {self.name}: {known:,} of {self.usage.calls:,} calls known or tried out (free)"
        return said if not self.unknown else f"{said}; of the others no text is known, none is taken to be unfit, and none is asked again"
