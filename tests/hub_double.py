"""A small Hub for tests: the unmodified `huggingface_hub` and `datasets` on one side, git-like repositories in memory on the other.

with hub() as server:                                   # HF_ENDPOINT=server.url, HF_TOKEN=server.token
    server.fault("PUT /lfs/", cut=True)                 # the next upload loses its connection half way
    server.fault(r"POST .*/commit/", status=429, headers={"Retry-After": "0"})
    server.fault(r"POST .*/commit/", first=lambda: server.push("me/prefs", {"note.md": b"moved"}))
    server.repos["me/prefs"].files("main")              # path -> File, at any branch, tag or commit

What it answers is what the Hub answers, as far as these clients ask: repositories that are private unless made public, uploads by LFS
(whole and in parts) and by Xet (tests/hub_double_xet.py), commits that hold their parent (412 if the branch has moved), branches, tags,
history, trees, ranges. A commit that names bytes which nobody uploaded is refused. Everything else is a 404, and is noted in `unknown`.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub_double_xet import Xet
from tests.hub_state import Commit, File, Hub, Refused, Repo

WHEN = "2026-01-01T00:00:00.000Z"


class Handler(BaseHTTPRequestHandler):
    """One request: find its route, answer."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.body = b""
        line = f"{self.command} {self.path}"
        self.hub.asked.append(line)
        fault = self.hub.take(line)
        length = int(self.headers.get("Content-Length") or 0)
        if fault and fault.cut:
            self.rfile.read(length // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.body = self.rfile.read(length)
        if fault and fault.first:
            fault.first()
        if fault and fault.status:
            self.answer({"error": "the test says so"}, fault.status, **fault.headers)
            return
        self.silent = bool(fault and fault.lost)
        try:
            self.route()
        except Refused as refused:
            self.answer({"error": refused.message}, refused.status, **{"X-Error-Code": refused.code, "X-Error-Message": refused.message})

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        if getattr(self, "silent", False):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def ranged(self, data: bytes, **headers: str) -> None:
        """Bytes, or those of them that are asked for."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers |= {"Accept-Ranges": "bytes"}
        if not wanted:
            self.answer(data, **headers)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.answer(data[start : stop + 1], 206, **headers, **{"Content-Range": f"bytes {start}-{stop}/{len(data)}"})

    @property
    def user(self) -> str | None:
        return self.hub.users.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def json(self) -> Any:
        return json.loads(self.body)

    def repo(self, name: str, write: bool = False) -> Repo:
        found = self.hub.repos.get(name)
        owner = name.split("/")[0]
        if found is None or (found.private and self.user != owner):
            if self.user is None:
                raise Refused(401, "RepoNotFound", "Invalid username or password.")
            raise Refused(404, "RepoNotFound", "Repository not found")
        if write and self.user != owner:
            raise Refused(403, "", "You don't have the rights to write here")
        return found

    def commit_of(self, repo: Repo, revision: str) -> Commit:
        found = repo.at(revision)
        if found is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def route(self) -> None:
        path = urlsplit(self.path).path
        if self.hub.xet.answers(self, path):
            return
        for pattern, handle in ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                with self.hub.lock:
                    handle(self, *(unquote(part) for part in found.groups()))
                return
        self.hub.unknown.append(f"{self.command} {self.path}")
        raise Refused(404, "", "no such route")

    def xet_links(self, name: str, file: File) -> dict[str, str]:
        known = self.hub.xet.files_by_sha.get(file.sha256)
        url = f"{self.hub.url}/api/datasets/{name}/xet-read-token/main"
        return {"X-Xet-Hash": known, "Link": f'<{url}>; rel="xet-auth"'} if known else {}


def whoami(at: Handler) -> None:
    if not at.user:
        raise Refused(401, "", "Invalid credentials in Authorization header")
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    at.answer({"type": "user", "name": at.user, "orgs": [], "auth": token})


def create(at: Handler) -> None:
    wanted = at.json()
    if not at.user:
        raise Refused(401, "", "Invalid credentials in Authorization header")
    name = f"{wanted.get('organization') or at.user}/{wanted['name']}"
    if not name.startswith(f"{at.user}/"):
        raise Refused(403, "", "You don't have the rights to create a repository under this namespace")
    value = {"url": f"{at.hub.url}/datasets/{name}", "name": name, "id": name}
    if name in at.hub.repos:
        at.answer(value | {"error": "You already created this dataset repo"}, 409)
        return
    at.hub.create(name, private=wanted.get("visibility", "public") == "private")
    at.answer(value)


def info(at: Handler, name: str, revision: str = "main") -> None:
    repo = at.repo(name)
    commit = at.commit_of(repo, revision)
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    about = {"_id": "1", "id": name, "author": name.split("/")[0], "sha": commit.oid, "private": repo.private, "gated": False}
    at.answer(about | {"disabled": False, "tags": [], "downloads": 0, "likes": 0, "lastModified": WHEN, "siblings": siblings})


def refs(at: Handler, name: str) -> None:
    repo = at.repo(name)
    listed = [
        [{"name": key, "ref": f"refs/{kind}/{key}", "targetCommit": oid} for key, oid in names.items()]
        for kind, names in (("heads", repo.branches), ("tags", repo.tags))
    ]
    at.answer({"branches": listed[0], "tags": listed[1], "converts": []})


def history(at: Handler, name: str, revision: str) -> None:
    rows = at.repo(name).history(revision)
    at.answer([{"id": c.oid, "title": c.title, "message": "", "authors": [{"user": "me"}], "date": WHEN} for c in rows])


def preupload(at: Handler, name: str, revision: str) -> None:
    """Which files go to large file storage: those that .gitattributes names, and what is too large for git."""
    commit = at.commit_of(at.repo(name, write=True), revision)
    answers = []
    for wanted in at.json()["files"]:
        large = wanted["path"].endswith(".parquet") or wanted["size"] > 10 << 20
        known = commit.files.get(wanted["path"])
        oid = (known.sha256 if known.large else known.oid) if known else None
        mode = "lfs" if large else "regular"
        answers.append({"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    at.answer({"files": answers, "commitOid": commit.oid})


def batch(at: Handler, name: str) -> None:
    """Where the bytes of each object go: nowhere if they are there, in one piece, or in parts."""
    at.repo(name, write=True)
    objects = []
    for wanted in at.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        made: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        if oid not in at.hub.blobs:
            upload: dict[str, Any] = {"href": f"{at.hub.url}/lfs/{oid}"}
            if size > at.hub.part:
                parts = {f"{i + 1:05d}": f"{at.hub.url}/lfs/{oid}/{i + 1}" for i in range(-(-size // at.hub.part))}
                upload = {"href": f"{at.hub.url}/lfs/{oid}/complete", "header": parts | {"chunk_size": str(at.hub.part)}}
            made["actions"] = {"upload": upload, "verify": {"href": f"{at.hub.url}/lfs/{oid}/verify"}}
        objects.append(made)
    at.answer({"transfer": "basic", "objects": objects}, **{"Content-Type": "application/vnd.git-lfs+json"})


def put(at: Handler, oid: str, part: str = "") -> None:
    if part:
        at.hub.parts.setdefault(oid, {})[int(part)] = at.body
        at.answer(b"", ETag=f'"{hashlib.md5(at.body).hexdigest()}"')
        return
    if hashlib.sha256(at.body).hexdigest() != oid:
        raise Refused(400, "", "sha256 mismatch")
    at.hub.blobs[oid] = at.body
    at.answer(b"")


def complete(at: Handler, oid: str) -> None:
    """The parts become one object if they are all there, and are what they should be."""
    wanted = at.json()
    parts = [at.hub.parts.get(oid, {}).get(row["partNumber"]) for row in wanted["parts"]]
    data = b"".join(part for part in parts if part is not None)
    if wanted["oid"] != oid or hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, "", "the parts are not the object")
    at.hub.blobs[oid] = data
    at.answer({})


def verify(at: Handler, oid: str) -> None:
    if len(at.hub.blobs.get(oid, b"")) != at.json()["size"]:
        raise Refused(404, "", "no such object")
    at.answer({})


def commit(at: Handler, name: str, branch: str) -> None:
    """All of the operations or none: on the stated parent, and only of bytes that are there."""
    repo = at.repo(name, write=True)
    head = repo.branches.get(branch)
    if head is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {branch}")
    lines = [json.loads(line) for line in at.body.splitlines()]
    header, files = lines[0]["value"], dict(repo.commits[head].files)
    if header.get("parentCommit") not in (None, head):
        raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            if value["oid"] not in at.hub.blobs:
                raise Refused(400, "", f"Your push was rejected: {value['path']} was never uploaded")
            files[value["path"]] = File(at.hub.blobs[value["oid"]], large=True)
        elif line["key"] == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
        else:
            raise Refused(400, "", f"no such operation: {line['key']}")
    made = repo.commit(branch, header["summary"], files)
    at.answer({"success": True, "commitOid": made.oid, "commitUrl": f"{at.hub.url}/datasets/{name}/commit/{made.oid}", "hookOutput": ""})


def tag(at: Handler, name: str, revision: str) -> None:
    repo, wanted = at.repo(name, write=True), at.json()["tag"]
    if wanted in repo.tags:
        raise Refused(409, "", "Tag reference exists already")
    repo.tags[wanted] = at.commit_of(repo, revision).oid
    at.answer({})


def _entry(path: str, file: File, xet: str | None) -> dict[str, Any]:
    about = {"type": "file", "path": path, "size": len(file.data), "oid": file.oid}
    return about | ({"lfs": {"oid": file.sha256, "size": len(file.data), "pointerSize": 130}, "xetHash": xet} if file.large else {})


def tree(at: Handler, name: str, revision: str, folder: str = "") -> None:
    found, inside = at.commit_of(at.repo(name), revision).files, f"{folder}/" if folder else ""
    below = {path: file for path, file in found.items() if path.startswith(inside)}
    if not below and folder:
        raise Refused(404, "EntryNotFound", f"{folder} does not exist")
    deep = "true" in parse_qs(urlsplit(at.path).query.lower()).get("recursive", [])
    folders = {
        inside + "/".join(rest[:depth]) for path in below for rest in [path[len(inside) :].split("/")] for depth in range(1, len(rest))
    }
    folders = {one for one in folders if deep or "/" not in one[len(inside) :]}
    kept = {path: file for path, file in below.items() if deep or "/" not in path[len(inside) :]}
    shown = [{"type": "directory", "path": one, "size": 0, "oid": hashlib.sha1(one.encode()).hexdigest()} for one in folders]
    shown += [_entry(path, file, at.hub.xet.files_by_sha.get(file.sha256)) for path, file in kept.items()]
    at.answer(sorted(shown, key=lambda row: row["path"]))


def paths(at: Handler, name: str, revision: str) -> None:
    found = at.commit_of(at.repo(name), revision).files
    form = "form" in (at.headers.get("Content-Type") or "")
    wanted = parse_qs(at.body.decode()).get("paths", []) if form else at.json()["paths"]
    shown = []
    for path in wanted:
        if path in found:
            shown.append(_entry(path, found[path], at.hub.xet.files_by_sha.get(found[path].sha256)))
        elif any(other.startswith(f"{path}/") for other in found):
            shown.append({"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()})
    at.answer(shown)


def resolve(at: Handler, name: str, revision: str, path: str) -> None:
    """A small file is answered, a large one is on another address, as the Hub has it."""
    commit = at.commit_of(at.repo(name), revision)
    file = commit.files.get(path)
    if file is None:
        raise Refused(404, "EntryNotFound", "Entry not found")
    about = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.sha256 if file.large else file.oid}"'}
    if not file.large:
        at.ranged(file.data, **about)
        return
    linked = {
        "X-Linked-Size": str(len(file.data)),
        "X-Linked-ETag": f'"{file.sha256}"',
        "Location": f"{at.hub.elsewhere}/cdn/{file.sha256}",
    }
    at.answer(b"", 302, **about, **linked, **at.xet_links(name, file))


def cdn(at: Handler, oid: str) -> None:
    at.ranged(at.hub.blobs[oid], ETag=f'"{oid}"')


def check_yaml(at: Handler) -> None:
    """What the Hub refuses of a card: a header that is no YAML mapping, or a licence that it does not know."""
    text = at.json()["content"]
    found = re.match(r"\A---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|\Z)", text)
    errors = []
    try:
        header = yaml.safe_load(found[1]) if found else {}
        if not isinstance(header, dict) or not re.fullmatch(r"[a-z0-9.-]+", str(header.get("license", "mit"))):
            errors.append({"message": "invalid metadata"})
    except yaml.YAMLError as error:
        errors.append({"message": str(error)})
    at.answer({"errors": errors, "warnings": []}, 400 if errors else 200)


def xet_token(at: Handler, name: str, kind: str) -> None:
    at.repo(name, write=kind == "write")
    url, until = at.hub.url, int(time.time()) + 3600
    said = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": f"xet-{kind}", "X-Xet-Token-Expiration": str(until)}
    at.answer({"casUrl": url, "exp": until, "accessToken": f"xet-{kind}"}, **said)


NAME, REST = r"([\w.-]+/[\w.-]+)", r"([^/]+)"
ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"GET /api/whoami-v2", whoami),
    (r"POST /api/repos/create", create),
    (r"POST /api/validate-yaml", check_yaml),
    (rf"(?:GET|HEAD) /api/datasets/{NAME}", info),
    (rf"GET /api/datasets/{NAME}/revision/{REST}", info),
    (rf"GET /api/datasets/{NAME}/refs", refs),
    (rf"GET /api/datasets/{NAME}/commits/{REST}", history),
    (rf"POST /api/datasets/{NAME}/preupload/{REST}", preupload),
    (rf"POST /api/datasets/{NAME}/commit/{REST}", commit),
    (rf"POST /api/datasets/{NAME}/tag/{REST}", tag),
    (rf"GET /api/datasets/{NAME}/tree/{REST}", tree),
    (rf"GET /api/datasets/{NAME}/tree/{REST}/(.+)", tree),
    (rf"POST /api/datasets/{NAME}/paths-info/{REST}", paths),
    (rf"GET /api/datasets/{NAME}/xet-(read|write)-token/{REST}", lambda at, name, kind, _: xet_token(at, name, kind)),
    (rf"POST /datasets/{NAME}\.git/info/lfs/objects/batch", batch),
    (r"PUT /lfs/(\w+)", put),
    (r"PUT /lfs/(\w+)/(\d+)", put),
    (r"POST /lfs/(\w+)/complete", complete),
    (r"POST /lfs/(\w+)/verify", verify),
    (rf"(?:GET|HEAD) /datasets/{NAME}/resolve/{REST}/(.+)", resolve),
    (r"(?:GET|HEAD) /cdn/(\w+)", cdn),
]


class Server(ThreadingHTTPServer):
    """A client that is killed is none of its business."""

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def hub() -> Iterator[Hub]:
    """A Hub on a free port of this machine, gone at the end."""
    state = Hub()
    state.xet = Xet(state.blobs)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    state.elsewhere = state.url.replace("127.0.0.1", "localhost")  # large files are on another host, which gets no token
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
