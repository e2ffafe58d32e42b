"""Publishing against a Hub double, with the unmodified `huggingface_hub` and `datasets` on the client's side."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import yaml
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import _http

from prefloom.flows.build import build_dataset
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.flows.publish import EVENT, publish_dataset
from prefloom.schemas.errors import InputError
from tests.command import SMALL
from tests.hub_double import hub
from tests.hub_state import Hub

REPO = "me/prefs"


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with hub() as server:
        yield server


@pytest.fixture
def server(one_hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """An empty Hub that this process takes for the Hub; uploads go by LFS, and waiting takes no time."""
    one_hub.repos.clear()
    one_hub.blobs.clear()
    one_hub.faults.clear()
    one_hub.asked.clear()
    HfFileSystem.clear_instance_cache()
    monkeypatch.setattr(constants, "ENDPOINT", one_hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", one_hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    monkeypatch.setenv("HF_TOKEN", one_hub.token)
    return one_hub


@pytest.fixture(scope="module")
def larger(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset with ten more people, and other licences."""
    out = tmp_path_factory.mktemp("larger") / "out"
    shutil.copytree(small.parent.parent, out)
    overrides = [part for part in SMALL[1:] if part != "--set" and "personas" not in part] + ["personas.0.count=40"]
    build_dataset("demo", str(out), [*overrides, "publish={licence: cc-by-4.0, licences: {judge: mit}}"])
    (run,) = (path for path in (out / "runs").iterdir() if path.name != small.name)
    return run


def publish(run: Path, **options: Any) -> dict[str, Any]:
    return dict(publish_dataset(str(run), REPO, **options))  # type: ignore[arg-type]


def refused(run: Path, *words: str, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        publish(run, **options)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def heads(server: Hub) -> list[str]:
    return [commit.oid for commit in server.repos[REPO].history()]


LOADED = """
import json, sys
import datasets, polars as pl
datasets.disable_progress_bars()
run, repo = sys.argv[1:]
folders = {"preference_ids": "preferences"}
for name in datasets.get_dataset_config_names(repo):
    loaded = datasets.load_dataset(repo, name)
    if name == "preferences":
        assert datasets.load_dataset(repo, split="train").column_names == loaded["train"].column_names
    for split, rows in loaded.items():
        where = f"exports/trl/{split}" if name == "preferences" else folders.get(name, name)
        here = pl.read_parquet(f"{run}/{where}/*.parquet")
        there = pl.from_arrow(rows.data.table)
        assert here.height and there.select(here.columns).equals(here.cast(dict(there.schema))), (name, split)
        print(name, split, here.height)
"""


def test_round_trip_by_xet(server: Hub, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    done = publish(small, tag="v1.0.0")
    repo = server.repos[REPO]
    assert (server.count("POST /v1/shards") > 0, server.count("PUT /lfs/")) == (True, 0), "the bytes went by Xet"
    assert (done["changed"], done["commit"], repo.tags) == (True, heads(server)[0], {"v1.0.0": done["commit"]})
    assert repo.private
    assert len(heads(server)) == 2

    listed = {file["path"] for stage in json.loads((small / "manifest.json").read_bytes())["stages"].values() for file in stage["files"]}
    assert set(repo.files()) == listed | {"manifest.json", "recipe.resolved.yaml", "README.md", ".gitattributes"}
    for path in listed | {"manifest.json"}:
        assert repo.files()[path].data == (small / path).read_bytes(), path
    said = b"".join(file.data for path, file in repo.files().items() if not path.endswith(".parquet"))
    assert not [folder for folder in (str(small.parents[2]).encode(), b"/data/seeds") if folder in said], "no folder of this machine"
    (tmp_path / "recipe.yaml").write_bytes(repo.files()["recipe.resolved.yaml"].data)
    assert small.name.endswith(resolve(str(tmp_path / "recipe.yaml")).fingerprint), "the recipe in the repository makes this dataset"

    env = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", LOADED, str(small), REPO], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert {line.split()[0] for line in ended.stdout.splitlines()} == {
        *("preferences", "preference_ids", "labels", "judgements", "personas", "prompts", "candidates", "comparisons", "rejected")
    }
    for token in (False, "hf_" + "B" * 34):
        with pytest.raises(RepositoryNotFoundError):  # which is how the Hub says private
            HfApi(token=token).repo_info(REPO, repo_type="dataset")

    assert all(not check.problems for check in validate(Store(f"hf://datasets/{REPO}@v1.0.0"))), "the repository is a dataset"
    asked = len(server.asked)
    again = publish(small, tag="v1.0.0")
    assert (again["changed"], again["commit"], len(heads(server))) == (False, done["commit"], 2)
    assert not [line for line in server.asked[asked:] if "/commit/" in line or "/preupload/" in line or "xorb" in line]
    assert [line for line in server.unknown if "agent-harnesses" not in line] == []


def test_a_new_version_says_what_changed(server: Hub, small: Path, larger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[dict[str, Any]] = []
    monkeypatch.setattr("prefloom.flows.publish.emit_event", lambda event, **said: emitted.append({"event": event} | said))
    first = publish(small)
    server.push(REPO, {"LICENSE": b"mine", "exports/trl/train/part-00099.parquet": b"PAR1"})
    second = publish(larger, tag="v2")
    files = server.repos[REPO].files("v2")
    assert files["LICENSE"].data == b"mine", "what others put there stays"
    assert "exports/trl/train/part-00099.parquet" not in files, "what would be read as a part of a table goes"
    page = files["README.md"].data.decode()
    assert f"Against {small.name}: 1,177 labels in both: 0 turned" in page
    assert "personas.0.count: 30 → 40" in page
    assert yaml.safe_load(page.split("---\n")[1])["license"] == "cc-by-4.0"
    assert "| judge (small of prefloom's simulated society) | judgements | mit |" in page
    assert server.repos[REPO].files(first["commit"])["README.md"].data != files["README.md"].data, "the first version is still there"
    gone = {path for path in server.repos[REPO].files(first["commit"]) if path not in files}
    assert gone <= {path for path in server.repos[REPO].files(first["commit"]) if not (larger / path).exists()}
    refused(small, "--tag: found v2, which names another version", tag="v2")
    assert publish(larger, tag="v2.0")["changed"], "a missing tag is mended"
    assert server.repos[REPO].tags["v2.0"] == second["commit"]
    rows = pl.read_parquet(larger / "preferences/*.parquet").height
    payload = {"repo_id": REPO, "revision": second["commit"], "tag": "v2", "dataset": larger.name, "rows": rows}
    assert emitted[1] == {"event": EVENT, "resource": {"prefect.resource.id": f"prefloom.dataset.{REPO}"}, "payload": payload}
    assert len(emitted) == 3


def test_whatever_breaks_the_repository_is_whole(server: Hub, small: Path, larger: Path) -> None:
    publish(small)
    start = heads(server)

    server.fault("PUT /lfs/", times=8, cut=True)
    server.fault(".*/preupload/", status=429, headers={"Retry-After": "3"})
    server.fault(".*objects/batch", times=2, status=500)
    server.fault(".*/commit/", status=429, headers={"Retry-After": "3"})
    refused(larger, "found too many requests (429); expected the same command, which goes on from here")
    assert heads(server) == start, "cut connections, 500 and 429 heal on the way; a commit is tried once"

    sent = server.count("PUT /lfs/")
    server.fault(".*/commit/", first=lambda: server.push(REPO, {"notes.md": b"somebody else"}))
    refused(larger, "found a branch that has moved since; expected the same command")
    assert [commit.title for commit in server.repos[REPO].history()[:2]] == ["by hand", "Publish " + small.name]
    assert server.count("PUT /lfs/") == sent, "what was sent is not sent again"

    server.fault(".*/commit/", lost=True)
    done = publish(larger)
    assert done["changed"]
    assert [commit.title for commit in server.repos[REPO].history()[:2]] == ["Publish " + larger.name, "by hand"], "once"
    assert not publish(larger)["changed"]
    assert server.repos[REPO].files()["notes.md"].data == b"somebody else"


def test_a_way_that_stays_broken(server: Hub, small: Path) -> None:
    server.fault("PUT /lfs/", times=99, cut=True)
    refused(small, f"{server.url}/datasets/{REPO}: found a way that breaks off", "expected the same command, which goes on from here")
    assert set(server.repos[REPO].files()) == {".gitattributes"}
    server.faults.clear()
    assert publish(small)["changed"]


def test_what_is_not_published(server: Hub, small: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.create(REPO, private=False)
    refused(small, "found a public repository; expected a private one", "say --public")
    assert publish(small, public=True)["changed"], "all its texts are Apache-2.0"
    server.repos[REPO].private = True
    refused(small, "found a private repository; expected a public one", "leave out --public", public=True)
    refused(small, "--revision: found no branch v9", revision="v9")
    server.create("me/other", private=True)
    server.push("me/other", {"README.md": b"mine"})
    with pytest.raises(InputError, match=r"found README.md, which is no dataset of prefloom's; expected an empty repository"):
        publish_dataset(str(small), "me/other")
    with pytest.raises(InputError, match="found a token that may not write there"):
        publish_dataset(str(small), "you/prefs")
    with pytest.raises(InputError, match="--repo-id"):
        publish_dataset(str(small), "../../etc")
    asked = len(server.asked)
    monkeypatch.delenv("HF_TOKEN")
    refused(small, "HF_TOKEN: found no token for the Hub")
    (copy / "labels" / "part-00000.parquet").write_bytes(b"PAR1")
    refused(copy, "files: found labels/part-00000.parquet has 4 bytes", "expected a valid dataset; see `prefloom validate`")
    (copy / "manifest.json").unlink()
    refused(copy, "found no manifest.json")
    assert len(server.asked) == asked, "the Hub is asked nothing"


def command(server: Hub, run: Path, home: Path) -> "subprocess.Popen[str]":
    """`prefloom publish` in a process of its own, by Xet."""
    env = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "prefloom.flows.cli", "publish", str(run), "--repo-id", REPO, "--json"]
    return subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_while_it_sends(server: Hub, small: Path, tmp_path: Path) -> None:
    ended: list[subprocess.Popen[str]] = []
    server.fault("POST /v1/shards", first=lambda: ended[0].kill())
    ended.append(command(server, small, tmp_path / "hf"))
    ended[0].communicate()
    assert ended[0].returncode == -9
    assert set(server.repos[REPO].files()) == {".gitattributes"}
    assert publish(small)["changed"]
    assert len(heads(server)) == 2


def test_a_disk_that_is_full(server: Hub, small: Path, tmp_path: Path) -> None:
    home = tmp_path / "hf"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(home)], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        ended = command(server, small, home)
        err = ended.communicate()[1]
        assert (ended.returncode, err.strip()) == (
            2,
            "prefloom: HF_HOME: found no space left on device; expected room for the cache of `huggingface_hub`",
        )
        assert set(server.repos[REPO].files()) == {".gitattributes"}
        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
        ended = command(server, small, home)
        assert json.loads(ended.communicate()[0])["dataset"] == small.name
    finally:
        subprocess.run(["umount", str(home)], check=True)
    assert len(heads(server)) == 2


@pytest.mark.parametrize("tag", ["a b", "../up", "-x", "v1.lock", 'v1", "x', "v1\n"])
def test_a_tag_that_is_none_is_refused_first(server: Hub, small: Path, tag: str) -> None:
    refused(small, "--tag", tag=tag)
    assert server.asked == []
