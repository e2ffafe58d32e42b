"""How far a shard is, on disk: whatever runs a stage feeds it, whoever can read the run folder may watch.

    <stage>/.progress-00003.json    {"planned": 9824, "done": 4096, "kept": 4080, "rejected": 16, "in_flight": 256,
                                     "paid": {"judge": {"calls": 4096, "prompt_tokens": 1842104, …}}}

    notes = Notes(store, "judgements", 3)
    notes.write(ShardProgress(planned=9824, done=4096))      # at most twice a second reaches the disk
    shards(store, "judgements")  ->  [ShardProgress(…), …]

These files are notes, not data: never synced, never hashed, gone when their stage is finished.
"""

import time
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset.store import Store
from prefloom.schemas.usage import Usages

INTERVAL, FAR = 0.5, 5.0  # seconds between two notes of one shard, and of one whose store is not on this machine


@dataclass(frozen=True)
class ShardProgress:
    """One shard, as it last said of itself, in units of its stage."""

    planned: int
    done: int = 0
    kept: int = 0
    rejected: int = 0
    in_flight: int = 0
    paid: Usages = field(default_factory=dict)


_NOTE = TypeAdapter(ShardProgress)


class Notes:
    """Where one shard tells how far it is."""

    def __init__(self, store: Store, stage: str, index: int) -> None:
        self._store, self._name, self._due = store, f"{stage}/.progress-{index:05d}.json", 0.0

    def write(self, progress: ShardProgress, last: bool = False) -> None:
        """Write the note unless one was written a moment ago; the `last` one always is."""
        now = time.monotonic()
        if last or now >= self._due:
            self._due = now + (INTERVAL if self._store.local else FAR)
            self._store.note(self._name, _NOTE.dump_json(progress))


def shards(store: Store, stage: str) -> list[ShardProgress]:
    """What the shards of a stage have said so far."""
    return [shard for name in store.list(_pattern(stage)) if (shard := _read(store, name))]


def clear(store: Store, stage: str) -> None:
    """Remove the notes of a stage."""
    for name in store.list(_pattern(stage)):
        store.remove(name)


def _pattern(stage: str) -> str:
    return f"{stage}/.progress-*.json"


def _read(store: Store, name: str) -> ShardProgress | None:
    try:
        return _NOTE.validate_json(store.read(name))
    except (FileNotFoundError, ValidationError):  # gone or torn under the reader's eyes
        return None
