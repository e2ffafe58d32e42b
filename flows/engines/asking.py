"""The journal between a stage and an engine: what was answered before is not asked again, what is answered now is written down first.

with asking(engine, run.journal(engine.identity), scopes=prompt_ids) as session:
    replies = session.ask(requests, scopes_of_requests)        # one Reply per request, in order
session.asked, session.from_journal  ->  (48000, 0)              session.usage  ->  Usage(calls=48000, prompt_tokens=17_000_000, …)
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import orjson
from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset.journal import Journal, Segment
from prefloom.flows.dataset.progress import ShardProgress
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.schemas.usage import Usage, Usages

_REPLY = TypeAdapter(Reply)


STOPPING = threading.Event()  # set when the build is interrupted: what was answered is journaled, nothing more is asked


class StoppedError(Exception):
    """A shard that ends early because the build does."""


class Session:
    """A stage's conversation with one model, inside one shard."""

    def __init__(self, engine: Engine, journal: Journal, held: dict[str, bytes]) -> None:
        self._engine, self._journal, self._held = engine, journal, held
        self._identity = engine.identity
        self._segment: Segment | None = None
        self.asked = self.from_journal = self.in_flight = 0
        self.changed: Callable[[], None] = lambda: None  # called whenever one of the three has moved
        self.usage = self.paid = Usage()  # of all distinct calls; of those that were not in the journal
        self._counted: set[str] = set()

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        """Replies in the order of the requests. Journaled replies for which `again` holds are asked once more."""
        keys = [request.key(self._identity) for request in requests]
        replies = {key: reply for key in set(keys) if (raw := self._held.get(key)) is not None and (reply := read_reply(raw))}
        stale = {key for key, reply in replies.items() if again is not None and again(reply)}
        # Equal requests have one key and are asked once.
        missing = list({key: i for i, key in enumerate(keys) if key not in replies or key in stale}.items())
        self.asked += len(missing)
        self.from_journal += len(requests) - len(missing)
        self.in_flight += len(missing)
        self.changed()
        if missing and not STOPPING.is_set():
            segment = self._segment = self._segment or self._journal.segment()
            for batch in self._engine.answer([requests[index] for _, index in missing]):
                answered = [(*missing[position], reply, orjson.dumps(reply)) for position, reply in batch]
                segment.append((key, scopes[index], raw) for key, index, _, raw in answered)
                for key, _, reply, raw in answered:
                    replies[key], self._held[key] = reply, raw
                self.paid += _usage(reply for _, _, reply, _ in answered)
                self.in_flight -= len(answered)
                self.changed()
                if STOPPING.is_set():
                    break
            self.in_flight = 0
        if STOPPING.is_set() and missing:
            raise StoppedError("the build was interrupted")
        self.usage += _usage(replies.get(key) for key in set(keys) - self._counted)
        self._counted.update(keys)
        return [replies.get(key) or Reply(error="the engine gave no reply") for key in keys]

    def close(self) -> None:
        """Sync what was written."""
        if self._segment:
            self._segment.close()


def read_reply(raw: bytes) -> Reply | None:
    """A journaled reply, or None for one that is damaged: it is asked again."""
    try:
        return _REPLY.validate_json(raw)
    except ValidationError:
        return None


def _usage(replies: Iterable[Reply | None]) -> Usage:
    calls = prompt = completion = unmetered = 0
    for reply in replies:
        calls += 1
        if reply is None or reply.prompt_tokens is None or reply.completion_tokens is None:
            unmetered += 1
        else:
            prompt, completion = prompt + reply.prompt_tokens, completion + reply.completion_tokens
    return Usage(calls, prompt, completion, unmetered)


@contextmanager
def asking(engine: Engine, journal: Journal, scopes: Sequence[str]) -> Iterator[Session]:
    """A session that starts from what the journal holds for these scopes (ids of prompts)."""
    session = Session(engine, journal, journal.load(scopes))
    try:
        yield session
    finally:
        session.close()


class Meter:
    """What the sessions of one shard ask and pay: told to the shard's notes while it happens, and to its report at the end."""

    def __init__(self, job: ShardJob, planned: int) -> None:
        self._job, self._planned = job, planned
        self._sessions: dict[str, Session] = {}
        self._kept = self._rejected = 0

    def follow(self, model: str, session: Session) -> Session:
        """Count this session under the model's name in the recipe."""
        self._sessions[model] = session
        session.changed = self._note
        return session

    def sorted_out(self, kept: int, rejected: int) -> None:
        """So many of the answers are usable so far, so many are not."""
        self._kept, self._rejected = kept, rejected
        self._note()

    def usage(self) -> Usages:
        """The calls that the shard stands on, by model."""
        return {model: session.usage for model, session in self._sessions.items()}

    def billed(self, report: ShardReport) -> ShardReport:
        """The report with what this attempt asked and paid, which is also the shard's last note."""
        sessions = self._sessions.values()
        asked, from_journal = sum(session.asked for session in sessions), sum(session.from_journal for session in sessions)
        billed = replace(report, paid=self._paid(), asked=asked, from_journal=from_journal)
        self._job.note(billed)
        return billed

    def _paid(self) -> Usages:
        return {model: session.paid for model, session in self._sessions.items()}

    def _note(self) -> None:
        in_flight = sum(session.in_flight for session in self._sessions.values())
        done = sum(session.asked + session.from_journal for session in self._sessions.values()) - in_flight
        self._job.notes.write(ShardProgress(self._planned, done, self._kept, self._rejected, in_flight, self._paid()))
