"""The journal between a stage and an engine: what was answered before is not asked again, what is answered now is written down first.

with asking(engine, run, scopes=prompt_ids) as session:
    replies = session.ask(requests, scopes_of_requests)        # one Reply per request, in order
session.asked, session.from_journal  ->  (48000, 0)              session.usage  ->  Usage(calls=48000, prompt_tokens=17_000_000, …)
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

import orjson
from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset.journal import Journal, Segment
from prefloom.flows.dataset.journal_objects import Flushes
from prefloom.flows.dataset.ledger import Ledger
from prefloom.flows.dataset.progress import ShardProgress
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.schemas.usage import Usage, Usages

_REPLY = TypeAdapter(Reply)
REMEMBERED = 16_384  # replies of earlier scopes that a session keeps
NO_REPLY = Reply(error="the engine gave no reply")
STOPPING = threading.Event()  # set when the build is interrupted: what was answered is journaled, nothing more is asked


class StoppedError(Exception):
    """A shard that ends early because the build does."""


class Asks(Protocol):
    """Where requests go: a session, or what `plan` has in its place."""

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        """One reply per request, in their order."""


class Session:
    """A stage's conversation with one model, inside one shard. Requests of one scope come soon after each other."""

    def __init__(self, engine: Engine, journal: Journal, held: dict[str, bytes], ledger: Ledger) -> None:
        self._engine, self._journal, self._held, self._ledger = engine, journal, held, ledger
        self._identity = engine.identity
        self._segment: Segment | Flushes | None = None
        self.model = ""  # its name in the recipe, under which it is charged
        self.asked = self.from_journal = self.unanswered = 0
        self.changed: Callable[[], None] = lambda: None  # called whenever one of the three has moved
        self.usage = self.paid = Usage()  # of all distinct calls; of those that were not in the journal
        # scope -> key -> reply, the scopes asked about last at the end; older ones are forgotten, so that memory does not grow with calls
        self._recent: dict[str, dict[str, Reply]] = {}
        self._forgotten: set[str] = set()

    @property
    def in_flight(self) -> int:
        """Those that are not answered yet, as far as the engine has them in flight at once."""
        return min(self.unanswered, self._engine.in_flight)

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        """Replies in the order of the requests. Journaled replies for which `again` holds are asked once more.

        InputError once the run has spent what it may, or when no server answers; StoppedError when the build was interrupted.
        """
        keys = [request.key(self._identity) for request in requests]
        self._turn_to(dict.fromkeys(scopes))
        missing: dict[str, int] = {}  # equal requests have one key and are asked once
        for index, (key, scope) in enumerate(zip(keys, scopes, strict=True)):
            if key in missing or key in self._recent[scope]:
                continue
            reply = read_reply(raw) if (raw := self._held.pop(key, None)) is not None else None
            if reply is None or (again is not None and again(reply)):
                missing[key] = index
            else:
                self._recent[scope][key] = reply
                self.usage += _usage([reply])
        self.asked += len(missing)
        self.from_journal += len(requests) - len(missing)
        self.unanswered = len(missing)
        self.changed()
        if missing:
            self._answer([(key, scopes[index], requests[index]) for key, index in missing.items()])
        return [self._recent[scope].get(key) or NO_REPLY for key, scope in zip(keys, scopes, strict=True)]

    def _turn_to(self, scopes: dict[str, None]) -> None:
        """Remember these scopes, and as many of the others as there is room for."""
        if again := self._forgotten & scopes.keys():
            raise RuntimeError(f"scope {min(again)} comes again after {REMEMBERED} replies in others; equal requests would be asked twice")
        for scope in scopes:
            self._recent[scope] = self._recent.pop(scope, {})
        count = sum(map(len, self._recent.values()))
        for scope in [name for name in self._recent if name not in scopes]:
            if count <= REMEMBERED:
                break
            count -= len(self._recent.pop(scope))
            self._forgotten.add(scope)

    def _answer(self, calls: list[tuple[str, str, Request]]) -> None:
        over = self._ledger.over()
        if over is None and not STOPPING.is_set():
            segment = self._segment = self._segment or self._journal.segment()

            def stop() -> bool:
                nonlocal over
                if over is None and not self._engine.free:
                    over = self._ledger.over()  # other shards spend too
                return over is not None or STOPPING.is_set()

            for batch in self._engine.answer([request for _, _, request in calls], stop):
                answered = [(*calls[position][:2], reply) for position, reply in batch]
                segment.append((key, scope, orjson.dumps(reply)) for key, scope, reply in answered)
                for key, scope, reply in answered:
                    self._recent[scope][key] = reply
                used = _usage(reply for _, _, reply in answered)
                self.usage, self.paid = self.usage + used, self.paid + used
                self.unanswered -= len(answered)
                if not self._engine.free:
                    self._ledger.charge(self.model, used)
                self.changed()
            segment.flush()
        left, self.unanswered = self.unanswered, 0
        if over is not None and left:
            raise self._ledger.over() or over  # with all that was in flight
        if STOPPING.is_set() and left:
            raise StoppedError("the build was interrupted")

    def close(self) -> None:
        """Sync what was written."""
        if self._segment:
            self._segment.close()
        self._ledger.close()


def read_reply(raw: bytes) -> Reply | None:
    """A journaled reply, or None for one that is damaged: it is asked again."""
    try:
        return _REPLY.validate_json(raw)
    except ValidationError:
        return None


def _usage(replies: Iterable[Reply]) -> Usage:
    calls = prompt = completion = unmetered = cached = 0
    for reply in replies:
        calls += 1
        cached += reply.cached_tokens or 0
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            unmetered += reply.error is None
        else:
            prompt, completion = prompt + reply.prompt_tokens, completion + reply.completion_tokens
    return Usage(calls, prompt, completion, unmetered, cached)


@contextmanager
def asking(engine: Engine, run: Run, scopes: Sequence[str]) -> Iterator[Session]:
    """A session that starts from what the journal holds for these scopes (ids of prompts)."""
    journal = run.journal(engine.identity)
    session = Session(engine, journal, journal.load(scopes), Ledger(run))
    try:
        yield session
    finally:
        session.close()


class Unserved:
    """A model that cannot be asked now: others have the GPU. What it has said before is in the journal."""

    free, in_flight = True, 0

    def __init__(self, engine: Engine) -> None:
        self.identity, self.votes = engine.identity, engine.votes

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:  # noqa: ARG002 - an Engine
        """Nothing."""
        return iter(())


class Sessions:
    """The sessions of one shard by the models' names in the recipe. Two names may be one model, which is not asked twice."""

    def __init__(self, job: ShardJob, meter: "Meter", scopes: Sequence[str], stack: ExitStack) -> None:
        self._job, self._meter, self._scopes, self._stack = job, meter, scopes, stack
        self._open: dict[str, Session] = {}  # by identity

    def of(self, name: str) -> Session:
        """The session with the model of this name; the first that asks for it opens it."""
        engine = open_engine(self._job.run, name)
        if engine.identity not in self._open:
            asked = self.asks(name)
            session = self._stack.enter_context(asking(engine if asked else Unserved(engine), self._job.run, self._scopes))
            self._open[engine.identity] = self._meter.follow(name, session) if asked else session
        return self._open[engine.identity]

    def asks(self, name: str) -> bool:
        """Whether a model can be asked, and not only looked up in the journal: not in a job for another one."""
        run, only = self._job.run, self._job.only
        return only is None or open_engine(run, name).identity == open_engine(run, only).identity


class Meter:
    """What the sessions of one shard ask and pay: told to the shard's notes while it happens, and to its report at the end."""

    def __init__(self, job: ShardJob, planned: int) -> None:
        self._job, self._planned = job, planned
        self._sessions: dict[str, Session] = {}
        self._kept = self._rejected = 0

    def follow(self, model: str, session: Session) -> Session:
        """Count this session under the model's name in the recipe."""
        self._sessions[model] = session
        session.model, session.changed = model, self._note
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
        sessions = self._sessions.values()
        in_flight = sum(session.in_flight for session in sessions)
        done = sum(session.asked + session.from_journal - session.unanswered for session in sessions)
        self._job.notes.write(ShardProgress(self._planned, done, self._kept, self._rejected, in_flight, self._paid()))
