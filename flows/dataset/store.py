"""Files that exist whole or not at all, on any fsspec URL.

    store = Store("data/runs/demo-3b9c…")              # or s3://bucket/prefix/runs/demo-3b9c…
    store.publish("labels/part-00000.parquet", lambda f: f.write(b"…"))
    store.create("manifest.json", b"…")                # conditional: FileExistsError if it is there already

On a file system a file is written under a temporary name, synced, then renamed; on an object store it is one PUT, which is atomic there
(objects.py says in one line what such a store refuses).
"""

import hashlib
import io
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from prefloom.flows.dataset import objects
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash

TEMPORARY = ".tmp"


class Store:
    """A folder at `url`; all paths are relative to it, with forward slashes."""

    def __init__(self, url: str) -> None:
        self.fs: Any
        self.root: str
        if is_remote(url):
            self.fs, self.root = objects.connect(url)
        else:  # to the letter: fsspec would read '~' and '::' in it
            self.fs, self.root = LocalFileSystem(), str(Path(url).absolute())
        self.url = url
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The path of `name` as its file system knows it."""
        return f"{self.root}/{name}"

    def publish(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        """Let `write` fill a file; it appears under `name` only when complete, replacing what was there."""
        if not self.local:
            buffer = io.BytesIO()  # whole before it is sent: closing a half-written remote file would publish the half
            write(buffer)
            with self._asked(name):
                self.fs.pipe_file(self.path(name), buffer.getvalue())
            return
        target, temporary = self._write_aside(name, write)
        _rename(temporary, target)
        _sync_folder(target.parent)

    def create(self, name: str, data: bytes) -> None:
        """Write `name` unless it exists; raises FileExistsError if it does, even when two writers race."""
        if not self.local:
            try:
                with self._asked(name):
                    self.fs.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:
                with suppress(FileNotFoundError):  # it was there, and has been removed since
                    if self.read(name) == data:  # ours, sent once more because the first reply was lost
                        return
                raise
            return
        target, temporary = self._write_aside(name, lambda file: file.write(data))
        try:
            _link(temporary, target)
        finally:
            temporary.unlink()
        _sync_folder(target.parent)

    def note(self, name: str, data: bytes) -> None:
        """Write something that may be lost: whole or not at all for whoever reads it, but not synced, and no reason to stop."""
        if not self.local:
            with suppress(InputError), self._asked(name):
                self.fs.pipe_file(self.path(name), data)
            return
        target = Path(self.path(name))
        temporary = target.with_name(f"{target.name}{TEMPORARY}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(target)
        except OSError:  # a full disk is said by the next file that matters
            with suppress(OSError):
                temporary.unlink()

    def read(self, name: str) -> bytes:
        """All bytes of a file; FileNotFoundError if there is none."""
        with self._asked(name):
            data: bytes = self.fs.cat_file(self.path(name))
        return data

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those of the files that are there, asked for side by side on an object store."""
        if self.local or not names:
            return {name: self.read(name) for name in names if self.exists(name)}
        found: dict[str, bytes] = {}
        paths = [self.path(name) for name in names]
        for name, data in zip(names, self.fs.cat_ranges(paths, None, None, on_error="return"), strict=True):
            with suppress(FileNotFoundError), self._asked(name):
                if isinstance(data, Exception):
                    raise data
                found[name] = data
        return found

    def open(self, name: str) -> IO[bytes]:
        """A file opened for reading."""
        with self._asked(name):
            file: IO[bytes] = self.fs.open(self.path(name), "rb")
        return file

    def exists(self, name: str) -> bool:
        """Whether the file or folder is there."""
        with self._asked(name):
            return bool(self.fs.exists(self.path(name)))

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None if there is none."""
        try:
            with self._asked(name):
                return int(self.fs.size(self.path(name)))
        except FileNotFoundError:
            return None

    def list(self, pattern: str) -> list[str]:
        """Names that match a pattern with `*` (which stays within one folder), sorted; never an unfinished temporary file."""
        # Not fs.glob: the user's own path may hold characters that mean something in a pattern.
        wanted = PurePosixPath(pattern)
        fixed = itertools.takewhile(lambda part: "*" not in part, wanted.parts[:-1])
        cut = len(self.fs._strip_protocol(self.root)) + 1
        with self._asked(pattern):
            paths = self.fs.find(self.path("/".join(fixed)).rstrip("/"))
        found = (PurePosixPath(str(path)[cut:]) for path in paths)
        names = (name for name in found if len(name.parts) == len(wanted.parts) and name.match(pattern))
        return sorted(str(name) for name in names if name.suffix != TEMPORARY)

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        if self.exists(name):
            with self._asked(name):
                self.fs.rm_file(self.path(name))

    def sha256(self, name: str) -> str:
        """Hash of a file's bytes."""
        with self.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def sweep(self) -> None:
        """Remove temporary files that a killed writer left behind. Only the holder of the run lock may call this."""
        if self.local:
            for leftover in Path(self.root).rglob(f"*{TEMPORARY}"):
                leftover.unlink()

    def _asked(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.local else objects.asked(f"{self.url}/{name}")

    def _write_aside(self, name: str, write: Callable[[IO[bytes]], Any]) -> tuple[Path, Path]:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}{TEMPORARY}")
        try:
            with named(target), temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)  # on a full disk the half would take the room of what comes next
            raise
        return target, temporary


@contextmanager
def named(path: Path) -> Iterator[None]:
    """A disk that is full says so without saying where: name the file."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)


def _link(temporary: Path, target: Path) -> None:
    os.link(temporary, target)


def _sync_folder(folder: Path) -> None:
    # A rename is on disk only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_remote(url: str) -> bool:
    """Whether a folder is named by a URL, and so lies on an object store."""
    return "://" in url


def folder_of(identity: str) -> str:
    """The folder that a model's journal or vectors have: its identity with anything unusual replaced, cut where it is very long."""
    name = "".join(c if c.isalnum() or c in "-_.@" else "_" for c in identity)
    return name if len(name) <= 150 else f"{name[:100]}-{content_hash(identity, size=6)}"
