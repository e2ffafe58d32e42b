"""What a run has paid for, as it pays: one line per batch of answers, so that a limit on spending also holds after a kill.

    data/runs/<run>/paid.jsonl      {"judge": {"calls": 256, "prompt_tokens": 118000, "completion_tokens": 256, …}}
    s3://…/<run>/paid/1f0e….json    the same where nothing can be appended to: what one writer has charged so far

    ledger = Ledger(run)
    ledger.charge("judge", Usage(calls=256, …))      # after the answers are in the journal
    ledger.paid()                                    # of all shards, threads and processes so far  ->  {"judge": Usage(…)}

Every writer appends whole lines to one file; every reader goes on from where it stopped. A torn line is a batch whose writer was killed.
On an object store each writer has an object, written and read every EVERY seconds: so long a limit may be overstepped there, and what was
paid in the last of them before a machine died is not known.
"""

import os
import threading
import time
import uuid
from decimal import Decimal
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import named
from prefloom.schemas.errors import InputError
from prefloom.schemas.usage import Usage, Usages, money, spend, total

NAME = "paid.jsonl"
EVERY = 2.0  # seconds
_LINE = TypeAdapter(Usages)


class Ledger:
    """The spending of one run, as one thread sees it."""

    def __init__(self, run: Run) -> None:
        self._store, self._path = run.store, Path(run.store.path(NAME))
        self._mine, self._own = Usages(), f"paid/{uuid.uuid4().hex}.json"
        self._charged = self._asked = float("-inf")
        self._limit, self._prices = run.resolved.recipe.limits.spend, run.resolved.recipe.prices
        self._offset, self._paid = 0, Usages()
        self._lock = threading.Lock()

    def charge(self, model: str, usage: Usage) -> None:
        """Add what a batch took."""
        if not self._store.local:
            self._mine = total([self._mine, {model: usage}])
            if time.monotonic() - self._charged > EVERY:
                self.close()
            return
        with named(self._path):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # by a kill; it must not take the next line along
                os.write(file, b"\n" * torn + _LINE.dump_json({model: usage}) + b"\n")
            finally:
                os.close(file)

    def paid(self) -> Usages:
        """The sum over everything charged to this run, by anybody."""
        if not self._store.local:
            return self._sum_of_objects()
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    file.seek(self._offset)
                    added = file.read()
            except FileNotFoundError:
                return self._paid
            whole = added[: added.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._paid = total([self._paid, *(usage for line in whole.splitlines() if (usage := _read(line)))])
            return self._paid

    def close(self) -> None:
        """Write down what was charged since the last time, where that is not done at once."""
        if self._mine and not self._store.local:
            self._charged = time.monotonic()
            self._store.publish(self._own, lambda file: file.write(_LINE.dump_json(self._mine)))

    def _sum_of_objects(self) -> Usages:
        if time.monotonic() - self._asked > EVERY:
            self._asked = time.monotonic()
            others = self._store.read_all([name for name in self._store.list("paid/*.json") if name != self._own])
            self._others = total(usage for line in others.values() if (usage := _read(line)))
        return total([self._others, self._mine])

    def over(self) -> InputError | None:
        """What to say once the limit is reached; None while there is something left of it, or no limit."""
        if self._limit is None:
            return None
        paid = self.paid()
        spent = spend(paid, self._prices) or Decimal(0)
        if unknown := [model for model, used in paid.items() if used.unmetered and model in self._prices]:
            found = f"replies of {unknown[0]} that do not say how many tokens they took"
            return InputError("recipe", "limits.spend", found=found, expected="servers that tell, or no limit on spending")
        if spent < self._limit:
            return None
        expected = "a higher limit (--set limits.spend=…) to go on from here; every answer is kept"
        return InputError("recipe", "limits.spend", found=f"{money(spent)} of {money(self._limit)} spent", expected=expected)


def _read(line: bytes) -> Usages | None:
    try:
        return _LINE.validate_json(line)
    except ValidationError:
        return None
