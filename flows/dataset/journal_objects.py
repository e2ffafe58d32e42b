"""The journal on an object store, where nothing can be appended to and nothing can be locked.

    s3://…/journal/<model identity>/open-<time>-<run>-….jsonl     a flush: never written again, so anybody may seal it
    s3://…/journal/<model identity>/sealed-000001.parquet         as on disk

A writer holds answers back until there are FLUSH_ROWS, until FLUSH_SECONDS have passed, and until the caller wants to use them, whichever
comes first. So a machine that dies costs, for each shard it works on, the calls in flight and at most 256 more, of the last 5 seconds.
"""

import io
import threading
from collections.abc import Callable, Iterable, Iterator

from prefloom.flows.dataset.journal import SEALED_ROWS, Journal, encoded, rows_of, write_sealed

FLUSH_ROWS, FLUSH_SECONDS = 256, 5.0
_AT_ONCE = 64  # flushes that are read side by side


class ObjectJournal(Journal):
    """The same calls, flush by flush."""

    def segment(self) -> "Flushes":
        """A writer."""
        return Flushes(self)

    def seal(self) -> None:
        """Turn the flushes that are there into sealed files, those of living builds too.

        Safe beside others who do the same: a call that two take stands in two files, equal, and is found as before.
        """
        while names := self._flushes():
            # Numbered before they are read: if somebody seals meanwhile, the number is taken, and what is there is looked at anew.
            number = max((int(name[7:13]) for name in self._sealed_files()), default=0) + 1
            rows, read = list[tuple[str, str, str]](), list[str]()
            while names and len(rows) < SEALED_ROWS:
                some, names = names[:_AT_ONCE], names[_AT_ONCE:]
                for content in self.store.read_all(some).values():
                    rows.extend(rows_of(content.splitlines(keepends=True)))
                read += some
            if rows:
                whole = io.BytesIO()
                write_sealed(rows, whole)
                try:
                    self.store.create(f"sealed-{number:06d}.parquet", whole.getvalue())
                except FileExistsError:
                    continue
            for name in read:
                self.store.remove(name)

    def _flushes(self) -> list[str]:
        return self.store.list("open-*.jsonl")

    def _unsealed(self, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, str, str]]:
        names = [name for name in self._flushes() if wanted(name)]
        for start in range(0, len(names), _AT_ONCE):
            for content in self.store.read_all(names[start : start + _AT_ONCE]).values():
                yield from rows_of(content.splitlines(keepends=True))

    def put(self, lines: list[bytes]) -> None:
        """One flush."""
        self.store.publish(f"{self._open_name()}.jsonl", lambda file: file.write(b"".join(lines)))


class Flushes:
    """What a Segment is on a file system."""

    def __init__(self, journal: ObjectJournal) -> None:
        self._journal, self._held = journal, list[bytes]()
        self._guard, self._timer = threading.RLock(), threading.Timer(0, lambda: None)
        self._failed: Exception | None = None

    def append(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Take (key, scope, reply) rows; they survive the death of this machine from the next flush on."""
        with self._guard:
            if not self._held:
                self._timer = threading.Timer(FLUSH_SECONDS, self._flush_late)
                self._timer.daemon = True
                self._timer.start()
            self._held += encoded(rows)
            if len(self._held) >= FLUSH_ROWS or self._failed:
                self.flush()

    def flush(self) -> None:
        """Write down what is held back. InputError if the store does not take it."""
        with self._guard:
            self._timer.cancel()
            if self._held:
                self._journal.put(self._held)
                self._held = []
            self._failed = None

    def _flush_late(self) -> None:
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 - in a timer's thread nobody hears of it; the next append tries again, and says so
            self._failed = error

    def close(self) -> None:
        """Write the rest."""
        self.flush()
