"""Damaged datasets and journals, full disks, closed streams, a Prefect that is not there: one line, nothing lost, and it goes on."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset.journal import Segment
from prefloom.flows.dataset.store import Store
from tests.breaking import PERSONAS, Ended, Place, command, lines, refused

CALLS = 30  # 5 personas, 3 prompts, one pair each, both orders


def process(*arguments: str, stdout: int | None = subprocess.PIPE, **environment: str) -> Ended:
    """The command in a process of its own, with another environment."""

    command = [sys.executable, "-m", "prefloom.flows.cli", *arguments]
    env = os.environ | environment
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, text=True, check=False)
    return Ended(done.returncode, done.stdout or "", done.stderr)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("personas/part", errno.ENOSPC),
        ("rejected/", errno.EACCES),
        ("judgements/part", errno.EDQUOT),
        ("labels/_stage", errno.EROFS),
        ("run.json", errno.EIO),
        ("manifest.json", errno.ENOSPC),
        ("exports/trl", errno.EMFILE),
    ],
)
def test_a_file_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    aside = Store._write_aside

    def fails(self: Store, path: str, write: Any) -> Any:
        def full(file: Any) -> None:
            file.write(b"PAR1 half")
            raise OSError(number, os.strerror(number))

        return aside(self, path, full if name in path else write)

    sets = ("name=other",) if name != "rejected/" else ("name=other", "checks.labels.min_margin=50", "checks.labels.min_consistency=0")
    with monkeypatch.context() as broken:
        broken.setattr(Store, "_write_aside", fails)
        place.refuses("/out/runs/other-", f"/{name}", os.strerror(number).lower(), overrides=sets)
    assert list(place.folder.rglob("*.tmp")) == [], "the half is not left to fill the disk"
    if name == "rejected/":
        return
    assert not list(place.folder.glob("out/runs/other-*/manifest.json"))
    done = place.built(*sets)
    assert command("validate", done["dataset"]).code == 0
    assert done["stages"].get("judgements", {"asked": 0})["asked"] == 0, "the earlier dataset had paid for its calls"


def test_a_journal_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(place.folder / "out")
    append, written = Segment.append, [0]

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fills_up(self: Segment, rows: Any) -> None:
        rows, file = list(rows), self.file
        self.file = Full() if written[0] else file  # type: ignore[assignment]
        try:
            append(self, rows)
        finally:
            self.file = file
        written[0] += len(rows)

    with monkeypatch.context() as broken:
        broken.setattr(Segment, "append", fills_up)
        words = "/journal/society_good-0.65-stereotype@", "no space left on device; expected room on the disk"
        place.refuses(*words, overrides=("run.workers=1",))
    assert 0 < written[0] < CALLS
    done = place.built("run.workers=1")
    assert done["stages"]["judgements"]["asked"] == CALLS - written[0], "what was journaled is not asked again"
    assert command("validate", done["dataset"]).code == 0


@pytest.fixture
def tiny_disk(place: Place) -> Iterator[Place]:
    """`out` on a file system of 112 kB of its own."""
    shutil.rmtree(place.folder / "out")
    (place.folder / "out").mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=112k", "none", str(place.folder / "out")], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", str(place.folder / "out")], check=True)


def remount(place: Place, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place.folder / "out")], check=True)


def test_a_disk_that_is_really_full_or_read_only(tiny_disk: Place) -> None:
    tiny_disk.refuses("found no space left on device; expected room on the disk", loses=("run.json",))
    tiny_disk.refuses("found no space left on device", loses=("run.json", "_stage.json", ".jsonl"))  # open segments may be sealed by now
    remount(tiny_disk, "size=4m")
    done = tiny_disk.built()
    assert sum(stage["asked"] for stage in done["stages"].values()) == 0, "every call was journaled before the disk was full"
    assert command("validate", done["dataset"]).code == 0
    remount(tiny_disk, "ro")
    assert tiny_disk.built()["status"] == "already built"
    tiny_disk.refuses("read-only file system; expected a folder that can be written to", overrides=("seed=7",))


@pytest.mark.parametrize("where", ["out", "out/runs", "out/journal", "run", "manifest.json", "labels/_stage.json"])
def test_something_else_lies_where_a_file_or_folder_should(place: Place, where: str) -> None:
    target = place.folder / where if where.startswith("out") else place.run if where == "run" else place.run / where
    shutil.move(target, place.folder / "aside")
    target.write_text("mine") if target.suffix != ".json" else target.mkdir()
    if where == "out/journal":
        (place.folder / "personas.jsonl").write_bytes(lines(PERSONAS[1:]))  # else nothing has to be asked
    place.refuses(str(target), "expected a f")
    target.unlink() if target.is_file() else target.rmdir()
    shutil.move(place.folder / "aside", target)
    assert place.built()["status"] == ("built" if where == "out/journal" else "already built")


@pytest.mark.parametrize(("call", "words"), [(1, "changed as the build began"), (2, "other content than when the build began")])
def test_an_input_that_changes(place: Place, monkeypatch: pytest.MonkeyPatch, call: int, words: str) -> None:
    from prefloom.flows.dataset import inputs

    rows, calls = inputs.rows, [0]

    def changing(path: Path, *rest: Any) -> Any:
        calls[0] += path.stem == "personas"
        if path.stem == "personas" and calls[0] == call:
            place.put("personas.jsonl", lines(PERSONAS[:4]))
        return rows(path, *rest)

    with monkeypatch.context() as while_reading:
        while_reading.setattr(inputs, "rows", changing)
        place.refuses(words, "build again", overrides=("seed=3",), loses=("personas.jsonl",))
    assert place.built("seed=3")["status"] == ("already built" if call == 1 else "built")


JUNK = [b"", b"[]", b"\xff\xfe\x00", b'{"executions": [3]}', b"[" * 100_000, b"recipe: 5"]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_damaged_records_are_written_again(place: Place, junk: bytes) -> None:
    before = place.files()
    for name in ("manifest.json", "run.json", "recipe.resolved.yaml", "labels/_stage.json", "judgements/part-00000.parquet"):
        (place.run / name).write_bytes(junk)
    for segment in (b'[]\n{"key":1,"scope":2,"reply":{}}\n', b'{"key":"k","scope":"s","reply":"x"}\n', b'{"key":"torn'):
        (place.journal / f"open-{len(segment)}.jsonl").write_bytes(segment + junk)
    (place.journal / "sealed-mine.parquet").write_bytes(junk)
    done = place.built()
    assert done["stages"]["judgements"]["asked"] == 0
    after = place.files()
    lost = {Path(name).name for name, content in before.items() if after.get(name) != content}
    assert lost == {"run.json", "recipe.resolved.yaml"}, "only times and the place are others"
    assert command("validate", done["dataset"]).code == 0


@pytest.mark.parametrize("damage", ["cut", "columns"])
def test_a_damaged_sealed_journal_file(place: Place, damage: str) -> None:
    (sealed,) = place.journal.glob("sealed-*.parquet")
    whole = sealed.read_bytes()
    shutil.rmtree(place.run / "judgements")
    sealed.write_bytes(whole[:-100]) if damage == "cut" else pl.DataFrame({"x": [1]}).write_parquet(sealed)
    place.refuses(
        str(sealed), "expected a sealed journal file; without it (move it away) its calls are asked again", loses=(".json", ".yaml")
    )
    sealed.write_bytes(whole)
    assert place.built()["stages"]["judgements"]["asked"] == 0


def test_damaged_replies_are_asked_again(place: Place) -> None:
    (sealed,) = place.journal.glob("sealed-*.parquet")
    broken = ['{"text":5}', "not json", '{"logprobs":{"A":"x"}}', "[]"]
    pl.read_parquet(sealed).with_columns(pl.Series("reply", (broken * CALLS)[:CALLS])).write_parquet(sealed)
    shutil.rmtree(place.run / "judgements")
    done = place.built()
    assert (done["stages"]["judgements"]["asked"], done["stages"].keys()) == (CALLS, {"judgements"})


EDITS: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "manifest.json: name: found Input should be a valid string"),
    ({"more": 1}, "manifest.json: more: found Extra inputs are not permitted"),
    ({"schema_version": 2}, "manifest.json: schema_version: found 2; expected 1"),
    ({"stages": []}, "manifest.json: stages: found Input should be an object"),
]


@pytest.mark.parametrize(("edit", "words"), EDITS)
def test_a_manifest_edited_by_hand(place: Place, edit: dict[str, Any], words: str) -> None:
    path = place.run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    for name in ("validate", "show"):
        place.refuses(words, by=[name, str(place.run), "--json"])
    assert place.built()["status"] == "built"
    assert command("validate", str(place.run)).code == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../../../../../etc/passwd", "'../../../../../etc/passwd' is no path of a dataset"),
        ("labels/\x00\x1b[2J", "'labels/\\x00\\x1b[2J' is no path of a dataset"),
        ("labels", "'labels' is no path of a dataset"),
        ("labels/" + "x" * 1_000_000, "(1,000,007 characters)' is no path of a dataset"),
        ("labels/part-00007.parquet", "labels/part-00007.parquet is missing"),
    ],
    ids=range(5),
)
def test_a_manifest_that_points_elsewhere(place: Place, path: str, words: str) -> None:
    manifest = json.loads((place.run / "manifest.json").read_text())
    manifest["stages"]["labels"]["files"][0]["path"] = path
    (place.run / "manifest.json").write_text(json.dumps(manifest))
    ended = command("validate", str(place.run))
    assert (ended.code, ended.err) == (1, "")
    assert words in ended.out
    assert max(map(len, ended.out.splitlines())) < 3000
    assert not [c for c in ended.out if not c.isprintable() and c != "\n"]


def test_one_flipped_byte_is_named_and_mended(place: Place) -> None:
    before, part = place.files(), place.run / "labels" / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    ended = command("validate", str(place.run), "--json")
    assert ended.code == 1
    problems = [problem for check in ended.report["checks"] for problem in check["problems"]]
    assert problems == ["labels/part-00001.parquet has changed: its sha256 is not the manifest's"]
    (place.run / "manifest.json").unlink()
    (place.run / "labels" / "part-00000.parquet").unlink()
    assert place.built()["stages"].keys() == {"labels"}
    after = place.files()
    assert {name for name in before if after[name] != before[name]} == {str(place.run / n) for n in ("run.json", "recipe.resolved.yaml")}


def test_show_of_a_dataset_that_lost_a_table(place: Place) -> None:
    shutil.rmtree(place.run / "candidates")
    place.refuses("tables that do not fit together", "validate", by=["show", str(place.run), "--json"])


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "PREFECT_API_URL: found Failed to reach API at http://127.0.0.1:9/api"),
        ({"PREFECT_API_URL": "gar\x1bbage"}, "PREFECT_API_URL: found "),
        ({"PREFECT_API_URL": "http://[::1"}, "Prefect's settings"),
        ({"PREFECT_API_REQUEST_TIMEOUT": "soon"}, "Prefect's settings: request_timeout"),
        ({"PREFECT_HOME": "/dev/null"}, "PREFECT_HOME: found /dev/null: file exists; expected a folder that can be written to"),
        ({"PREFECT_HOME": "/proc/nowhere"}, "PREFECT_HOME: found /proc/nowhere: no such file"),
    ],
)
def test_a_prefect_that_cannot_be_used(place: Place, environment: dict[str, str], words: str) -> None:
    before = place.files()
    ended = process(*place.arguments("seed=5"), **environment)
    line = refused(ended, words, kept=(before, place.files()))
    assert "\x1b" not in line


def test_streams_that_are_closed_full_or_ascii(place: Place) -> None:
    run = str(place.run)
    reading, writing = os.pipe()
    os.close(reading)
    assert process("show", run, stdout=writing) == Ended(128 + 13, "", "")
    os.close(writing)
    with Path("/dev/full").open("w") as full:
        ended = process("show", run, stdout=full.fileno())
    assert (ended.code, ended.err.startswith("prefloom: standard output: found no space left on device; expected room")) == (2, True)
    shell = f'"{sys.executable}" -m prefloom.flows.cli show "{run}" >&-'
    closed = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")
    place.put("answers.jsonl", (place.folder / "answers.jsonl").read_bytes().replace(b"lay it", "é 😀 lay it".encode()))
    done = place.built("checks.labels.min_margin=0", "checks.labels.min_consistency=0", "name=other")
    ended = process("show", done["dataset"], PYTHONIOENCODING="ascii")
    assert (ended.code, ended.err) == (0, "")
    assert "\\xe9 \\U0001f600 lay it" in ended.out


def test_a_fault_of_ours_keeps_its_traceback_and_says_where_it_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefloom.flows.steps import labels

    def fault(store: Store) -> None:
        raise ValueError("\x1b[2J" + "x" * 1_000_000)

    with monkeypatch.context() as broken:
        broken.setattr(labels, "mean_bias", fault)
        ended = place.build("name=other")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Traceback")
    assert "\x1b" not in ended.err
    assert len(ended.err) < 50_000
    (run,) = (place.folder / "out" / "runs").glob("other-*")
    last = ended.err.splitlines()[-1]
    assert last.startswith("prefloom: that was a fault of prefloom, not of your input; what is done is kept in")
    assert str(run) in last
    assert place.built("name=other")["stages"].keys() == {"labels", "preferences", "exports"}
