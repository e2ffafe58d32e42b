"""What a Hub holds: repositories, commits, bytes, who may do what; and the faults that a test wants.

repo.commit("main", "a title", {"README.md": File(b"...")})          repo.at("v1.0.0")  ->  Commit or None
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PART = 5 << 20  # bytes of one part of an upload in parts; what is larger goes up in parts


@dataclass(frozen=True)
class File:
    """A file of a commit: a git blob, or a pointer to bytes in large file storage."""

    data: bytes
    large: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()
        body = text if self.large else self.data
        return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@dataclass
class Commit:
    """A snapshot and what came before it."""

    oid: str
    parent: str | None
    title: str
    files: dict[str, File]


@dataclass
class Repo:
    """Commits, and the names of some of them."""

    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)

    def files(self, revision: str = "main") -> dict[str, File]:
        found = self.at(revision)
        assert found, revision
        return found.files

    def commit(self, branch: str, title: str, files: dict[str, File]) -> Commit:
        parent = self.branches.get(branch)
        what = json.dumps([parent, title, len(self.commits), sorted((path, file.oid) for path, file in files.items())])
        made = Commit(hashlib.sha1(what.encode()).hexdigest(), parent, title, files)
        self.commits[made.oid], self.branches[branch] = made, made.oid
        return made

    def history(self, revision: str = "main") -> list[Commit]:
        found, at = [], self.at(revision)
        while at:
            found.append(at)
            at = self.commits.get(at.parent or "")
        return found


@dataclass
class Fault:
    """What happens to the next requests that match, in place of an answer or before it."""

    pattern: str
    times: int
    status: int
    headers: dict[str, str]
    cut: bool
    lost: bool  # the answer is: the request is done
    first: Callable[[], Any] | None


class Hub:
    """The state of the server, and the switches of a test."""

    def __init__(self) -> None:
        self.token = "hf_" + "A" * 34
        self.users = {self.token: "me", "hf_" + "B" * 34: "you"}
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.unknown: list[str] = []
        self.part = PART
        self.url = self.elsewhere = ""
        self.xet: Any = None
        self.lock = threading.RLock()

    def fault(
        self,
        pattern: str,
        times: int = 1,
        status: int = 0,
        headers: dict[str, str] | None = None,
        cut: bool = False,
        lost: bool = False,
        first: Callable[[], Any] | None = None,
    ) -> None:
        self.faults.append(Fault(pattern, times, status, headers or {}, cut, lost, first))

    def push(self, name: str, changes: dict[str, bytes], branch: str = "main") -> Commit:
        """What somebody else does meanwhile."""
        repo = self.repos[name]
        return repo.commit(branch, "by hand", repo.files(branch) | {path: File(data) for path, data in changes.items()})

    def count(self, pattern: str) -> int:
        return sum(bool(re.match(pattern, line)) for line in self.asked)

    def create(self, name: str, private: bool) -> Repo:
        made = self.repos[name] = Repo(name, private)
        made.commit("main", "initial commit", {".gitattributes": File(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")})
        return made

    def take(self, line: str) -> Fault | None:
        with self.lock:
            found = next((fault for fault in self.faults if fault.times and re.match(fault.pattern, line)), None)
            if found:
                found.times -= 1
            return found


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """An error as the Hub words it: status, X-Error-Code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
