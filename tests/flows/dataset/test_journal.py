"""The journal: what was answered is found again, whatever became of its writer."""

import subprocess
import sys
from pathlib import Path

import pytest

from prefloom.flows.dataset.journal import Journal
from prefloom.schemas.errors import InputError


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "society_judge")


def put(journal: Journal, *rows: tuple[str, str, bytes], close: bool = True) -> Path:
    segment = journal.segment()
    segment.append(rows)
    if close:
        segment.close()
    return Path(journal.folder / Path(segment.file.name).name.lstrip("."))


def test_sealed_rows_are_read_by_scope(journal: Journal) -> None:
    put(journal, ("k1", "s1", b'{"text":"A"}'), ("k2", "s2", b'{"text":"B"}'))
    assert journal.load(["s1"]) == {}, "not sealed yet"
    journal.seal()
    assert journal.load(["s1"]) == {"k1": b'{"text":"A"}'}
    assert journal.load(["s1", "s2", "s3"]).keys() == {"k1", "k2"}
    assert [path.suffix for path in journal.folder.iterdir() if not path.name.startswith(".")] == [".parquet"]


def test_a_torn_tail_costs_only_itself(journal: Journal) -> None:
    path = put(journal, ("k1", "s", b'{"text":"A"}'), ("k2", "s", b'{"text":"B"}'))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        journal.seal()
        expected = {"k1"} if cut >= whole.index(b"\n") + 1 else set()
        assert journal.load(["s"]).keys() == expected, cut
        for file in journal.folder.glob("sealed-*"):
            file.unlink()
        path.write_bytes(whole)


def test_a_damaged_line_costs_only_itself(journal: Journal) -> None:
    path = put(journal, ("k1", "s", b'{"text":"A"}'), ("k2", "s", b'{"text":"B"}'))
    path.write_bytes(path.read_bytes().replace(b'"k1"', b'\x00\xff"', 1))
    journal.seal()
    assert journal.load(["s"]).keys() == {"k2"}


def test_a_later_answer_counts(journal: Journal) -> None:
    put(journal, ("k", "s", b'{"error":"busy"}'))
    journal.seal()
    put(journal, ("k", "s", b'{"text":"A"}'), ("k", "s", b'{"text":"B"}'))
    journal.seal()
    assert journal.load(["s"]) == {"k": b'{"text":"B"}'}


def test_a_living_writer_is_left_alone(journal: Journal) -> None:
    code = (
        "import sys, pathlib\nfrom prefloom.flows.dataset.journal import Journal\n"
        f"segment = Journal(pathlib.Path({str(journal.folder)!r})).segment()\n"
        "segment.append([('k', 's', b'{}')])\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    journal.seal()
    assert journal.load(["s"]) == {"k": b"{}"}, "what another build has written down is not paid for again"
    assert len(list(journal.folder.glob("open-*"))) == 1
    writer.kill()
    writer.wait()
    journal.seal()
    assert journal.load(["s"]) == {"k": b"{}"}
    assert not list(journal.folder.glob("open-*"))


def test_many_segments_become_several_sealed_files(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefloom.flows.dataset.journal.SEALED_ROWS", 2)
    for number in range(5):
        put(journal, (f"k{number}", "s", b"{}"))
    journal.seal()
    assert len(list(journal.folder.glob("sealed-*"))) == 3
    assert len(journal.load(["s"])) == 5


def test_an_empty_journal_holds_nothing(journal: Journal) -> None:
    journal.seal()
    assert journal.load(["s"]) == {}


def test_a_missing_sealed_file_is_never_overwritten(journal: Journal) -> None:
    for number in range(3):
        put(journal, (f"k{number}", "s", b"{}"))
        journal.seal()
    (journal.folder / "sealed-000001.parquet").unlink()
    put(journal, ("k3", "s", b"{}"))
    journal.seal()
    assert journal.load(["s"]).keys() == {"k1", "k2", "k3"}


def test_a_damaged_sealed_file_is_named(journal: Journal) -> None:
    put(journal, ("k", "s", b"{}"))
    journal.seal()
    (journal.folder / "sealed-000001.parquet").write_bytes(b"PAR1 torn PAR1")
    with pytest.raises(InputError, match=r"sealed-000001\.parquet"):
        journal.load(["s"])


def test_a_shard_that_is_started_anew_finds_what_its_lost_worker_wrote(tmp_path: Path) -> None:
    lost, anew, other = (Journal(tmp_path / "m", "run") for _ in range(3))
    assert lost.load(["s", "t"]) == {}
    lost.segment().append([("k", "s", b"{}")])  # and never closed
    assert anew.load(["t", "s"]) == {"k": b"{}"}
    assert other.load(["s"]) == {}, "this run's other shards need not be read"


def test_more_segments_than_are_opened_at_a_time(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefloom.flows.dataset.journal.SEALED_SEGMENTS", 2)
    for number in range(5):
        put(journal, ("same", "s", b'{"text":"%d"}' % number), (f"k{number}", "s", b"{}"))
    journal.seal()
    held = journal.load(["s"])
    assert held["same"] == b'{"text":"4"}', "the latest"
    assert held.keys() == {"same", *(f"k{number}" for number in range(5))}
    assert not list(journal.folder.glob("open-*"))
