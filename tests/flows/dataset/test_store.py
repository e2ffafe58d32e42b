"""A file is there whole or not at all, on disk and on an object store."""

import threading
from pathlib import Path
from typing import IO

import pytest

from prefloom.flows.dataset import store as module
from prefloom.flows.dataset.store import Store


@pytest.fixture(params=["disk", "memory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return Store(str(tmp_path / "s") if request.param == "disk" else f"memory://{tmp_path.name}")


def test_publish_read_list_remove(any_store: Store) -> None:
    any_store.publish("a/part-0.parquet", lambda f: f.write(b"one"))
    any_store.publish("a/part-0.parquet", lambda f: f.write(b"two"))
    any_store.publish("a/part-1.parquet", lambda f: f.write(b"three"))
    assert any_store.list("a/part-*.parquet") == ["a/part-0.parquet", "a/part-1.parquet"]
    assert any_store.read("a/part-0.parquet") == b"two"
    assert any_store.size("a/part-1.parquet") == 5
    assert any_store.size("a/none") is None
    any_store.remove("a/part-0.parquet")
    any_store.remove("a/part-0.parquet")
    assert any_store.list("a/*") == ["a/part-1.parquet"]
    assert any_store.list("none/*") == []
    assert any_store.read_all(["a/part-1.parquet", "a/none"]) == {"a/part-1.parquet": b"three"}
    assert any_store.read_all([]) == {}


def test_create_is_conditional(any_store: Store) -> None:
    any_store.create("manifest.json", b"first")
    with pytest.raises(FileExistsError):
        any_store.create("manifest.json", b"second")
    assert any_store.read("manifest.json") == b"first"


def test_of_many_racing_writers_one_creates(any_store: Store) -> None:
    store = any_store
    won: list[int] = []

    def attempt(number: int) -> None:
        try:
            store.create("manifest.json", b"%d" % number)
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("manifest.json") == b"%d" % won[0]
    assert store.list("*") == ["manifest.json"]
    assert not store.local or [p.name for p in Path(store.root).iterdir()] == ["manifest.json"]


def test_a_writer_that_fails_leaves_the_old_file(any_store: Store) -> None:
    any_store.publish("x", lambda f: f.write(b"old"))

    def fails(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        any_store.publish("x", fails)
    assert any_store.read("x") == b"old"


def test_nothing_is_visible_before_the_rename(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "_rename", lambda temporary, target: seen.append(store.list("a/*")))
    store.publish("a/part-0.parquet", lambda f: f.write(b"x"))
    assert seen == [[]]
    assert store.list("a/*") == []
    store.sweep()
    assert list((Path(store.root) / "a").iterdir()) == []


def test_a_folder_with_the_characters_of_a_pattern(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run [1]* {a,b}?"))
    store.publish("labels/part-0.parquet", lambda f: f.write(b"x"))
    store.publish("exports/trl/train/part-0.parquet", lambda f: f.write(b"x"))
    assert store.list("labels/part-*.parquet") == ["labels/part-0.parquet"]
    assert store.list("exports/*/*/*.parquet") == ["exports/trl/train/part-0.parquet"]
    assert store.list("*/*.parquet") == ["labels/part-0.parquet"]
    assert store.list("part-*") == []
