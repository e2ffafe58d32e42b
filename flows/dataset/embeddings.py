"""Vectors of texts, kept across runs: a text is embedded once per model, ever.

    data/embeddings/<model identity>/part-<time>-<pid>-<n>.parquet       key: 16 bytes, vector: dim × float16

    vectors = Vectors(Path("data/embeddings"), "sentence-transformers/all-MiniLM-L6-v2@3f0c…")
    vectors.read(["How do I wrap a present neatly?"])            ->  (1, 384) float16, or InputError that says what is missing
    vectors.fill(texts, embedder.stream)                         ->  Filled((n, dim) float16, embedded=812, held=3188)
    of_run(store, "prompts")                                     ->  (ids, (n, dim) float16) from the folder of a run

The key is a hash of the text alone. On a file system one process at a time works in a model's folder (a lock that dies with its
holder), so of two that want the same text one embeds it and the other reads it; on an object store both may embed it. Where a key stands
in two files, the older file counts: a vector never changes.
"""

import fcntl
import hashlib
import io
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store, folder_of
from prefloom.schemas.embedding import Embedding
from prefloom.schemas.errors import InputError

Half = NDArray[np.float16]
Batches = Iterator[tuple[Sequence[int], Half]]  # (indices of texts, their vectors), in any order
PUBLISHED = 4096  # vectors per file: what a kill can cost
SMALL = 65_536  # files with fewer vectors are folded into one …
MANY = 32  # … when there are so many of them
_COUNTER = itertools.count()
_ADVICE = "a file of stored vectors; without it (move it away) its texts are embedded again"


class Filled(NamedTuple):
    """Vectors in the order of the texts, and how many distinct texts were embedded now and how many were held."""

    vectors: Half
    embedded: int
    held: int


def text_key(text: str) -> bytes:
    """The 16 bytes under which a text's vector is stored."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Vectors:
    """All vectors of one model under `root` (`data/embeddings`)."""

    def __init__(self, root: Path | str, identity: str) -> None:
        self.identity = identity
        self.store = Store(f"{root}/{folder_of(identity)}")

    def read(self, texts: Sequence[str]) -> Half:
        """(n, dim) vectors of the texts; InputError if one of them was never embedded."""
        return self.read_keys([text_key(text) for text in texts])

    def read_keys(self, keys: Sequence[bytes]) -> Half:
        """The same for hashes of texts."""
        found = self.held(keys)
        if missing := len(set(keys) - found.keys()):
            raise InputError(self.store.url, found=f"no vectors of {missing} of {len(set(keys))} texts", expected="texts embedded before")
        return _stack([found[key] for key in keys])

    def held(self, keys: Iterable[bytes]) -> dict[bytes, Half]:
        """Vectors of those hashes that have one. Nothing is written, and nobody is waited for."""
        wanted = set(keys)
        while self._names():
            with suppress(FileNotFoundError):  # folded into another file between the listing and the reading
                return self._load(wanted)
        return {}

    def fill(self, texts: Sequence[str], embed: Callable[[list[str]], Batches], changed: Callable[[int], None] = lambda _: None) -> Filled:
        """(n, dim) vectors of the texts. Those that nobody has embedded before are embedded, stored, and told to `changed` as they come.

        If `embed` raises, what it gave before is stored. No texts are an array of shape (0, 0).
        """
        keys = [text_key(text) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        with self._alone():
            found = self._load(set(distinct))
            missing = {key: text for key, text in distinct.items() if key not in found}
            held = len(found)
            changed(held)
            if missing:
                self._embed(missing, embed, found, changed)
                self._fold()
        return Filled(_stack([found[key] for key in keys]), len(missing), held)

    def _embed(
        self, missing: dict[bytes, str], embed: Callable[[list[str]], Batches], found: dict[bytes, Half], changed: Callable[[int], None]
    ) -> None:
        names, fresh = list(missing), list[tuple[bytes, Half]]()
        try:
            for indices, vectors in embed(list(missing.values())):
                fresh += zip((names[index] for index in indices), vectors, strict=True)
                changed(len(found) + len(fresh))
                if len(fresh) >= PUBLISHED:
                    fresh = self._publish(fresh, found)
        finally:
            self._publish(fresh, found)
        assert missing.keys() <= found.keys(), "the embedder left texts out"

    def _publish(self, fresh: list[tuple[bytes, Half]], found: dict[bytes, Half]) -> list[tuple[bytes, Half]]:
        if fresh:
            keys, vectors = [key for key, _ in fresh], _stack([vector for _, vector in fresh])
            if not np.isfinite(vectors).all():
                raise InputError(self.identity, found="a vector that 16-bit floats cannot hold", expected="finite numbers below 65,504")
            name = f"part-{time.time_ns():020d}-{os.getpid()}-{next(_COUNTER):04d}.parquet"
            self.store.publish(name, lambda file: _write(file, keys, vectors, self.identity))
            found.update(fresh)
        return []

    def _load(self, wanted: set[bytes]) -> dict[bytes, Half]:
        found: dict[bytes, Half] = {}
        for name in self._names():
            with self._opened(name) as file:
                keys = file.read(["key"])["key"].to_pylist()
                rows = [row for row, key in enumerate(keys) if key in wanted and key not in found]
                vectors = _matrix(file.read(["vector"])["vector"]) if rows else None
            if vectors is not None:
                found.update((keys[row], vectors[row]) for row in rows)
        if len({vector.shape for vector in found.values()}) > 1:
            raise InputError(self.store.url, found="vectors of different lengths", expected="vectors of one model")
        return found

    def _names(self) -> list[str]:
        return self.store.list("part-*.parquet")

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """One of the files, its owner checked. Both columns are read from one opening: the name may get another file meanwhile."""
        path = self.store.path(name)
        try:
            source = path if self.store.local else io.BytesIO(self.store.read(name))
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                if (owner := (file.metadata.metadata or {}).get(b"prefloom.model", b"").decode()) != self.identity:
                    raise InputError(path, found=f"vectors of '{owner}'", expected=f"vectors of '{self.identity}'")
                yield file
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(path, found=str(error).split("\n")[0], expected=_ADVICE) from None

    def _fold(self) -> None:
        """Make one file of many small ones. A kill in between leaves rows twice, which are equal."""
        if not self.store.local:
            return  # without a lock, others may be reading them
        small = [name for name in self._names() if pq.read_metadata(self.store.path(name)).num_rows < SMALL]
        if len(small) < MANY:
            return
        rows: dict[bytes, Half] = {}
        for name in small:
            with self._opened(name) as file:
                table = file.read()
            for key, vector in zip(table["key"].to_pylist(), _matrix(table["vector"]), strict=True):
                rows.setdefault(key, vector)
        # The name of the oldest: whoever looks rows up finds the same one as before.
        self.store.publish(small[0], lambda file: _write(file, list(rows), _stack(list(rows.values())), self.identity))
        for name in small[1:]:
            self.store.remove(name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self.store.local:
            yield  # two may embed the same text: they store the same vector
            return
        folder = Path(self.store.url)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            self.store.sweep()
            yield


def of_run(store: Store, table: str, files: str = "embeddings/part-*.parquet") -> tuple[list[str], Half]:
    """(row ids, their (n, dim) vectors) of one table of a run: prompts, candidates or personas. Empty if the run has no vectors of it."""
    rows = tables.read(store, files, Embedding, ["table", "row_id", "vector"])
    mine = rows.filter(rows["table"] == table)
    vectors = mine["vector"].explode(empty_as_null=False).to_numpy().astype(np.float16, copy=False)
    return mine["row_id"].to_list(), vectors.reshape(mine.height, -1) if mine.height else np.zeros((0, 0), np.float16)


def _write(file: IO[bytes], keys: list[bytes], vectors: Half, identity: str) -> None:
    flat: Any = pa.array(np.ascontiguousarray(vectors).ravel())
    columns = {"key": pa.array(keys, pa.binary(16)), "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
    table = pa.table(columns).replace_schema_metadata({"prefloom.model": identity})
    # Vectors are as good as random: neither a dictionary nor compression makes them smaller. The checksums tell rot from numbers.
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)


def _matrix(column: pa.ChunkedArray) -> Half:
    chunks = [chunk.flatten().to_numpy().reshape(len(chunk), -1) for chunk in column.chunks if len(chunk)]
    return np.concatenate(chunks) if chunks else np.zeros((0, 0), np.float16)


def _stack(vectors: Sequence[Half]) -> Half:
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float16)
