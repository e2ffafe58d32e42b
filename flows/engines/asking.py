"""The journal between a stage and an engine: what was answered before is not asked again, what is answered now is written down first.

with asking(engine, run.journal(engine.identity), scopes=prompt_ids) as session:
    replies = session.ask(requests, scopes_of_requests)        # one Reply per request, in order
session.asked, session.from_journal  ->  (48000, 0)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import orjson

from prefloom.flows.dataset.journal import Journal, Segment
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
        replies: list[Reply | None] = []
        for key in keys:
            raw = self._held.get(key)
            reply = Reply(**orjson.loads(raw)) if raw is not None else None
            replies.append(None if reply is not None and again is not None and again(reply) else reply)
        missing = [index for index, reply in enumerate(replies) if reply is None]
        self.from_journal += len(requests) - len(missing)
        self.asked += len(missing)
        if missing:
            segment = self._segment = self._segment or self._journal.segment()
            for batch in self._engine.answer([requests[index] for index in missing]):
                answered = [(missing[position], reply) for position, reply in batch]
                segment.append((keys[index], scopes[index], orjson.dumps(reply)) for index, reply in answered)
                for index, reply in answered:
                    replies[index] = reply
                    self.tokens["prompt"] += reply.prompt_tokens or 0
                    self.tokens["completion"] += reply.completion_tokens or 0
        return [reply if reply is not None else Reply(error="the engine gave no reply") for reply in replies]

    def close(self) -> None:
        """Sync what was written."""
        if self._segment:
            self._segment.close()


@contextmanager
def asking(engine: Engine, journal: Journal, scopes: Sequence[str]) -> Iterator[Session]:
    """A session that starts from what the journal holds for these scopes (ids of prompts)."""
    session = Session(engine, journal, journal.load(scopes) if scopes else {})
    try:
        yield session
    finally:
        session.close()
