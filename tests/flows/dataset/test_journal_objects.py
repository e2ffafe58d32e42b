"""The journal on an object store: what is flushed survives, sealing beside readers and other sealers loses nothing."""

import threading
import time
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import journal_objects
from prefloom.flows.dataset.journal_objects import ObjectJournal


@pytest.fixture
def url(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}/journal/m"


def rows(*numbers: int) -> list[tuple[str, str, bytes]]:
    return [(f"k{number}", "s", b'{"n":%d}' % number) for number in numbers]


def test_answers_are_held_back_until_they_are_used_or_many_or_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_objects, "FLUSH_ROWS", 4)
    monkeypatch.setattr(journal_objects, "FLUSH_SECONDS", 300)
    journal, other = ObjectJournal(url, "one"), ObjectJournal(url, "two")
    writer = journal.segment()
    writer.append(rows(1))
    assert other.load(["s"]) == {}
    writer.append(rows(2, 3, 4))
    assert len(other.load(["s"])) == 4, "there are many"
    monkeypatch.setattr(journal_objects, "FLUSH_SECONDS", 0.1)
    writer.append(rows(5))
    time.sleep(1.0)
    monkeypatch.setattr(journal_objects, "FLUSH_SECONDS", 300)
    assert len(other.load(["s"])) == 5, "it is old"
    writer.append(rows(6))
    writer.flush()
    assert len(other.load(["s"])) == 6, "somebody wants to use it"
    writer.append(rows(7))
    writer.close()
    assert other.load(["s"]) == {f"k{number}": b'{"n":%d}' % number for number in range(1, 8)}
    third = ObjectJournal(url, "one")
    assert len(third.load(["s", "t"])) == 0, "another shard of the run asks about other prompts: it need not read them"
    assert other.load(["t"]) == other.load([]) == {}
    journal.seal()
    assert journal.load(["s"]) == other.load(["s"]) == {f"k{number}": b'{"n":%d}' % number for number in range(1, 8)}
    assert journal.store.list("*") == ["sealed-000001.parquet"]
    assert journal.glance().scopes() == {"s": 7}
    assert journal.glance().bytes() > 0


def test_a_later_answer_counts(url: str) -> None:
    journal = ObjectJournal(url)
    for reply in (b'"first"', b'"second"'):
        writer = journal.segment()
        writer.append([("k", "s", reply)])
        writer.close()
    journal.seal()
    assert journal.load(["s"]) == {"k": b'"second"'}


def test_sealers_beside_each_other_and_a_reader(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_objects, "SEALED_ROWS", 8)
    monkeypatch.setattr(journal_objects, "_AT_ONCE", 4)
    writing = ObjectJournal(url, "writer")
    for number in range(24):
        writer = writing.segment()
        writer.append(rows(number))
        writer.close()
    over, seen = threading.Event(), list[int]()

    def read() -> None:
        while not over.is_set():
            seen.append(len(ObjectJournal(url, "reader").load(["s"])))

    reader = threading.Thread(target=read)
    sealers = [threading.Thread(target=ObjectJournal(url, f"sealer{number}").seal) for number in range(3)]
    for thread in (reader, *sealers):
        thread.start()
    for thread in sealers:
        thread.join()
    over.set()
    reader.join()
    assert set(seen) == {24}, "a reader finds every call at every moment"
    assert writing.store.list("open-*") == []
    sealed = pl.concat(pl.read_parquet(writing.store.read(name)) for name in writing.store.list("sealed-*"))
    assert sorted(sealed["key"].unique()) == sorted(key for key, _, _ in rows(*range(24)))
    assert sealed.unique().height == 24, "what two sealers took is the same in both of their files"
