"""The display says what the run folder says, whoever works there."""

import io
import logging
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from prefloom.flows import display
from prefloom.flows.dataset import executions, stages
from prefloom.flows.dataset.lock import run_lock
from prefloom.flows.dataset.progress import Notes, ShardProgress
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.display import Display
from prefloom.flows.steps import freshness
from prefloom.flows.steps.judgements import judge_comparisons
from prefloom.schemas.usage import Usage
from tests.command import SMALL, prefloom
from tests.helpers import run_stage

PAID = {"judge": Usage(calls=40, prompt_tokens=1_500_000, completion_tokens=40)}


@pytest.fixture
def halfway(tmp_path: Path) -> Run:
    """A run whose judgements are being made: the first of its two shards says so."""
    run = run_stage(tmp_path, "comparisons", prices={"judge": {"prompt": 0.15, "completion": 0.6}})
    executions.begin(run, "prefloom build test")
    note(run, 0, done=40)
    return run


def note(run: Run, shard: int, done: int) -> None:
    progress = ShardProgress(planned=100, done=done, kept=done - 3, rejected=3, in_flight=7, paid=PAID)
    Notes(run.store, "judgements", shard).write(progress, last=True)


def drawn(shown: Display, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(shown.table())
    return file.getvalue()


def test_the_first_unfinished_stage_runs_and_those_behind_it_wait(halfway: Run) -> None:
    rows = {row.name: row for row in display.snapshot(halfway)}
    assert [row.state for row in rows.values()] == ["done"] * 4 + ["running"] + ["waiting"] * 3
    assert rows["personas"].kept == 20
    running = rows["judgements"]
    assert (running.done, running.expected, running.in_flight, running.share) == (40, 200, 7, 0.2), (
        "the other shard is taken to be as large"
    )
    note(halfway, 1, done=60)
    assert display.snapshot(halfway)[4].share == 0.5


def test_the_rate_is_that_of_the_last_seconds(halfway: Run) -> None:
    shown = Display(halfway)
    for second, done in ((0, 40), (5, 50), (12, 92)):
        note(halfway, 0, done)
        shown.observe(float(second))
    assert shown.rate() == 6.0, "(92 - 50) / (12 - 5): what is older than ten seconds is forgotten"


def test_the_table_fits_a_terminal_and_says_everything(halfway: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 10.0, 10.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock, 10.0))
    shown = Display(halfway)
    drawn(shown)
    note(halfway, 0, done=80)
    text = drawn(shown)
    (line,) = [line for line in text.splitlines() if line.startswith("judgements")]
    for figure in ("40%", "77", "3", "4/s", "7", "0:30", "1.5 M", "$0.2250"):
        assert figure in line.split() or figure in line
    assert max(map(len, text.splitlines())) <= 100
    assert str(halfway.folder)[-20:] in text.replace("\n", "")


def test_where_there_is_no_terminal_a_line_comes_now_and_then(
    halfway: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "HEARTBEAT", 0.05)
    with display.shown(Display(halfway), silent=False):
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("  judgements   20%: 40 of about 200 readings, kept 37, rejected 3")
    with display.shown(Display(halfway), silent=True):
        logging.getLogger("prefloom").info("not to be seen")
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_the_table_keeps_its_names_on_a_narrow_terminal(halfway: Run, width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width).print(Display(halfway).table(width))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for stage in [stage.name for stage in stages.of(halfway.resolved.recipe)]:
        assert sum(line.startswith(stage) for line in lines) == 1
    (line,) = [line for line in lines if line.startswith("judgements")]
    assert line.split()[-1] == ("$0.2250" if width >= 50 else "37")


def test_what_is_paid_does_not_go_down_when_a_shard_ends(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "comparisons", prices={"judge": {"prompt": 0.15, "completion": 0.6}})
    stage, uses = stages.BY_NAME["judgements"], freshness.materials(run)
    digest = freshness.current_hash(run, stage, uses)
    assert digest
    stages.begin(run, stage, digest)
    calls = 0
    for index in range(2):
        report = judge_comparisons(ShardJob(str(run.folder), "judgements", index, digest))
        calls += report.paid["judge"].calls
        assert display.snapshot(run)[4].paid["judge"].calls == calls  # type: ignore[index]


def test_a_torn_note_is_no_note(halfway: Run) -> None:
    (halfway.folder / "judgements" / ".progress-00001.json").write_text('{"planned": 1')
    assert display.snapshot(halfway)[4].expected == 200


def test_a_finished_dataset_holds_no_notes_and_json_says_nothing_beside_it(small: Path, tmp_path: Path) -> None:
    assert [path.name for path in small.rglob(".progress*")] == []
    assert prefloom("build", *SMALL, "--out", str(tmp_path), "--json").stderr == ""


def test_a_watcher_sees_a_build_that_something_else_runs(halfway: Run) -> None:
    command = [sys.executable, "-m", "prefloom.flows.cli", "watch", str(halfway.folder)]
    master, slave = pty.openpty()
    seen = b""
    with run_lock(halfway.folder):
        watcher = subprocess.Popen(command, stderr=slave, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})
        os.close(slave)
        while b"20%" not in seen:
            seen += os.read(master, 65536)
    while True:
        try:
            seen += os.read(master, 65536)
        except OSError:  # the watcher has closed its end
            break
    assert watcher.wait(timeout=30) == 0
    assert b"judgements" in seen
    assert b"last build: killed; begun" in seen, "its process is gone and it never said how it ended"
    executions.end(halfway, "failed")
    again = prefloom("watch", str(halfway.folder))
    assert again.stderr.count("\n") == 1
    assert "40 readings kept" not in again.stderr
    assert "last build: failed; begun" in again.stderr
    refused = prefloom("watch", str(halfway.folder.parent), check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
