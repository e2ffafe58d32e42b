"""The journal between a stage and an engine: what was answered before is not asked again, what is answered now is written down first.

with asking(engine, run.journal(engine.identity), scopes=prompt_ids) as session:
    replies = session.ask(requests, scopes_of_requests)        # one Reply per request, in order
session.asked, session.from_journal  ->  (48000, 0)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import orjson

from prefloom.flows.dataset.journal import Journal, Segment
from prefloom.flows.dataset.shards import ShardReport
from prefloom.flows.engines.protocol import Engine, Reply, Request


class Session:
    """A stage's conversation with one model, inside one shard."""

    def __init__(self, engine: Engine, journal: Journal, held: dict[str, bytes]) -> None:
        self._engine, self._journal, self._held = engine, journal, held
        self._identity = engine.identity
        self._segment: Segment | None = None
        self.asked = self.from_journal = 0
        self.tokens = {"prompt": 0, "completion": 0}

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        """Replies in the order of the requests. Journaled replies for which `again` holds are asked once more."""
        keys = [request.key(self._identity) for request in requests]
        replies = {key: Reply(**orjson.loads(raw)) for key in set(keys) if (raw := self._held.get(key)) is not None}
        stale = {key for key, reply in replies.items() if again is not None and again(reply)}
        # Equal requests have one key and are asked once.
        missing = list({key: i for i, key in enumerate(keys) if key not in replies or key in stale}.items())
        self.asked += len(missing)
        self.from_journal += len(requests) - len(missing)
        if missing:
            segment = self._segment = self._segment or self._journal.segment()
            for batch in self._engine.answer([requests[index] for _, index in missing]):
                answered = [(*missing[position], reply, orjson.dumps(reply)) for position, reply in batch]
                segment.append((key, scopes[index], raw) for key, index, _, raw in answered)
                for key, _, reply, raw in answered:
                    replies[key], self._held[key] = reply, raw
                    self.tokens["prompt"] += reply.prompt_tokens or 0
                    self.tokens["completion"] += reply.completion_tokens or 0
        return [replies.get(key) or Reply(error="the engine gave no reply") for key in keys]

    def usage(self) -> ShardReport:
        """What this session asked, as a report without rows."""
        return ShardReport(0, 0, {}, asked=self.asked, from_journal=self.from_journal, tokens=self.tokens)

    def close(self) -> None:
        """Sync what was written."""
        if self._segment:
            self._segment.close()


@contextmanager
def asking(engine: Engine, journal: Journal, scopes: Sequence[str]) -> Iterator[Session]:
    """A session that starts from what the journal holds for these scopes (ids of prompts)."""
    session = Session(engine, journal, journal.load(scopes))
    try:
        yield session
    finally:
        session.close()
