"""Every model call ever paid for. An answer is journaled before it is used, so a killed build asks again only what was in flight.

    data/journal/<model identity>/open-<time>-<run>-….jsonl       being written, one writer per file
    data/journal/<model identity>/sealed-000001.parquet           the same rows, sorted by scope and key

One line of an open segment:
    {"key": "1f0e…", "scope": "9f0c…", "reply": {"text": "A", "finish_reason": "stop", "logprobs": {"A": -0.2, "B": -1.7}, …}}

`key` is the hash of (model identity, rendered messages, sampling, seed, repeat); `scope` is the id of the prompt the call is about and only
decides which rows are read together. A torn last line is a call that was in flight. Where a key stands twice, the later entry counts.
"""

import fcntl
import io
import itertools
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import orjson
import polars as pl

from prefloom.flows.dataset.store import Store, named
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash

if TYPE_CHECKING:
    from prefloom.flows.dataset.journal_objects import Flushes

_COUNTER = itertools.count()
SEALED_ROWS = 65_536  # a sealed file is made in memory: some 100 MB while it is
SEALED_SEGMENTS = 64  # open at a time: a stage of a thousand shards leaves a thousand
_SCHEMA = {"key": pl.String, "scope": pl.String, "reply": pl.String}


class Journal:
    """The calls of one model. Readers see what was sealed; `seal` folds in what finished and killed writers left."""

    def __init__(self, folder: Path | str, owner: str = "") -> None:
        self.store = Store(str(folder))
        self.owner, self._shard = owner or str(os.getpid()), ""

    @property
    def folder(self) -> Path:
        """Where it lies on this machine."""
        return Path(self.store.url)

    def load(self, scopes: Sequence[str]) -> dict[str, bytes]:
        """key -> reply (JSON bytes) of every call in these scopes: sealed, or written down by another run or an earlier try."""
        held: dict[str, bytes] = {}
        if not scopes:
            return held
        wanted, self._shard = set(scopes), content_hash(sorted(scopes), size=4)
        # Open segments first: one that is sealed in between is then read twice and not missed.
        others = {key: reply.encode() for key, scope, reply in self._unsealed(self._may_matter) if scope in wanted}
        near = pl.col("scope").is_between(pl.lit(min(scopes)), pl.lit(max(scopes)))  # skips row groups
        for rows in self._sealed(lambda file: file.filter(near & pl.col("scope").is_in(list(scopes))).select("key", "reply").drop_nulls()):
            held.update(zip(rows["key"].to_list(), (reply.encode() for reply in rows["reply"].to_list()), strict=True))
        return held | others

    def _sealed(self, query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Iterator[pl.DataFrame]:
        """What the query finds in each sealed file, in the order they were sealed."""
        for name in self._sealed_files():
            try:
                source = self.store.path(name) if self.store.local else io.BytesIO(self.store.read(name))
                yield query(pl.scan_parquet(source, glob=False)).collect()
            except (pl.exceptions.PolarsError, OSError) as error:
                advice = "a sealed journal file; without it (move it away) its calls are asked again"
                raise InputError(self.store.path(name), found=str(error).split("\n")[0], expected=advice) from None

    def glance(self) -> "Glance":
        """What is held now, sealed or not, for a reader who leaves everything as it is."""
        # Open segments first: one that is sealed in between is then read twice and not missed.
        return Glance(self, pl.DataFrame(list(self._unsealed()), schema=_SCHEMA, orient="row"))

    def _may_matter(self, name: str) -> bool:
        """Whether an open segment may hold calls of this shard: this run's other shards ask about other scopes."""
        return f"-{self.owner}-" not in name or f"-{self._shard}-" in name

    def _unsealed(self, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, str, str]]:
        """(key, scope, reply) rows of the open segments with such names."""
        for path in sorted(self.folder.glob("open-*.jsonl")):
            if wanted(path.name):
                with suppress(FileNotFoundError), path.open("rb") as file:
                    yield from rows_of(file)

    def segment(self) -> "Segment | Flushes":
        """A new file to append to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Segment(self.folder / f"{self._open_name()}.jsonl")

    def _open_name(self) -> str:
        """Sorted by time; no other writer has it, on this machine or another."""
        return f"open-{time.time_ns():020d}-{self.owner}-{os.getpid()}-{self._shard}-{next(_COUNTER):04d}-{uuid.uuid4().hex[:8]}"

    def seal(self) -> None:
        """Turn every segment whose writer is gone into one sealed file. Safe beside other builds under the same root."""
        if not self.folder.exists():
            return
        with (self.folder / ".seal").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            self.store.sweep()
            paths = sorted(self.folder.glob("open-*.jsonl"))
            for first in range(0, len(paths), SEALED_SEGMENTS):
                self._seal(paths[first : first + SEALED_SEGMENTS])

    def _seal(self, paths: Sequence[Path]) -> None:
        claimed = [segment for path in paths if (segment := _claim(path))]
        rows: list[tuple[str, str, str]] = []
        for file in claimed:
            rows.extend(rows_of(file))
            if len(rows) >= SEALED_ROWS:
                self._publish(rows)
                rows = []
        if rows:
            self._publish(rows)
        for file in claimed:
            Path(file.name).unlink()
            file.close()

    def _sealed_files(self) -> list[str]:
        return [name for name in self.store.list("sealed-*.parquet") if re.fullmatch(r"sealed-\d{6}\.parquet", name)]

    def _publish(self, rows: list[tuple[str, str, str]]) -> None:
        number = max((int(name[7:13]) for name in self._sealed_files()), default=0) + 1
        self.store.publish(f"sealed-{number:06d}.parquet", lambda out: write_sealed(rows, out))


def write_sealed(rows: Sequence[tuple[str, str, str]], out: IO[bytes]) -> None:
    """A sealed file of (key, scope, reply) rows; of equal keys the last stays."""
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row").unique("key", keep="last", maintain_order=True)
    whole = io.BytesIO()  # polars has an error of its own for a disk that is full, and nobody would know it for one
    frame.sort("scope", "key").write_parquet(whole, row_group_size=16_384)
    out.write(whole.getbuffer())


class Glance:
    """A journal as it was at one moment. Calls of writers that still live, and of killed ones, are in it."""

    def __init__(self, journal: Journal, unsealed: pl.DataFrame) -> None:
        self._journal, self._unsealed = journal, unsealed

    def scopes(self) -> dict[str, int]:
        """scope -> number of calls held; at most, for a call that stands in two files counts twice."""
        counts: Counter[str] = Counter(self._unsealed["scope"])
        for rows in self._journal._sealed(lambda file: file.group_by("scope").len()):
            counts.update(dict(rows.iter_rows()))
        return dict(counts)

    def replies(self, keys: Sequence[str]) -> dict[str, bytes]:
        """key -> reply (JSON bytes) of those of the calls that are held."""
        found: dict[str, bytes] = {}
        if keys:
            wanted = pl.col("key").is_in(pl.Series(keys, dtype=pl.String).implode())
            for rows in (*self._journal._sealed(lambda file: file.filter(wanted)), self._unsealed.filter(wanted)):
                found.update((key, reply.encode()) for key, reply in rows.select("key", "reply").iter_rows())
        return found

    def bytes(self) -> int:
        """Size of its files on disk."""
        store = self._journal.store
        return sum(store.size(name) or 0 for name in store.list("*") if not name.startswith("."))


class Segment:
    """An open file of the journal with one writer, which holds its lock until it is closed."""

    def __init__(self, path: Path) -> None:
        # Locked before it has its name: a segment that can be seen and locked by `seal` has no living writer.
        hidden = path.with_name(f".{path.name}")
        self.file = hidden.open("ab", buffering=0)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        hidden.rename(path)
        self.path = path

    def append(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Write (key, scope, reply) rows; when this returns they survive the death of this process."""
        data = memoryview(b"".join(encoded(rows)))
        with named(self.path):
            while data:
                data = data[self.file.write(data) :]

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Sync and let go."""
        os.fsync(self.file.fileno())
        self.file.close()


def encoded(rows: Iterable[tuple[str, str, bytes]]) -> list[bytes]:
    """A line for each (key, scope, reply)."""
    return [b'{"key":"%b","scope":"%b","reply":%b}\n' % (key.encode(), scope.encode(), reply) for key, scope, reply in rows]


def _claim(path: Path) -> IO[bytes] | None:
    """The segment opened for reading, unless its writer still lives."""
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def rows_of(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """(key, scope, reply) of the lines that are whole."""
    for line in lines:
        if not line.endswith(b"\n"):
            return  # torn tail: the writer died inside this line
        try:
            row = orjson.loads(line)
            key, scope, reply = row["key"], row["scope"], orjson.dumps(row["reply"]).decode()
            if isinstance(key, str) and isinstance(scope, str):
                yield key, scope, reply
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a damaged line costs one repeated call, never a build
