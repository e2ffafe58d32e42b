"""The build as a user meets it: once, again, changed a little, in parallel, at the same time, and fed to a trainer."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.command import SMALL, prefloom

Done = dict[str, Any]


def build(out: Path, *arguments: str) -> Done:
    result: Done = json.loads(prefloom("build", *arguments, "--out", str(out), "--json").stdout)
    return result


def bytes_of(run: Path) -> dict[str, bytes]:
    files = [*run.rglob("*.parquet"), run / "manifest.json"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def usage(done: Done, stage: str) -> tuple[int, int]:
    return done["stages"][stage]["asked"], done["stages"][stage]["from_journal"]


def test_one_and_eight_workers_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    for workers in (1, 8):
        done = build(tmp_path / str(workers), *SMALL, "--set", f"run.workers={workers}")
        assert bytes_of(Path(done["dataset"])) == bytes_of(small)


def test_a_finished_build_is_recognised_before_prefect_is_imported(small: Path) -> None:
    out = small.parent.parent
    code = (
        "import sys, atexit; from prefloom.flows.cli import main\n"
        "atexit.register(lambda: print('prefect' in sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['prefloom', 'build', *{SMALL!r}, '--out', {str(out)!r}]; main()"
    )
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "already built" in done.stdout
    assert done.stderr.strip() == "False"
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_a_second_build_of_the_same_run_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "labels")
    code = (
        "import sys, pathlib\nfrom prefloom.flows.dataset.lock import run_lock\n"
        f"with run_lock(pathlib.Path({str(copy)!r})):\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    refused = prefloom("build", *SMALL, "--out", str(copy.parent.parent), check=False)
    assert refused.returncode == 2
    assert f"pid {holder.pid} on" in refused.stderr
    assert "Traceback" not in refused.stderr
    holder.kill()
    holder.wait()
    prefloom("build", *SMALL, "--out", str(copy.parent.parent))


def test_deleting_a_stage_recomputes_it_without_a_model_call(copy: Path) -> None:
    before = bytes_of(copy)
    shutil.rmtree(copy / "labels")
    done = build(copy.parent.parent, *SMALL)
    assert set(done["stages"]) == {"labels"}, "same bytes: what comes after stays fresh"
    assert bytes_of(copy) == before
    (copy / "judgements" / "part-00003.parquet").unlink()
    done = build(copy.parent.parent, *SMALL)
    assert set(done["stages"]) == {"judgements"}
    asked, from_journal = usage(done, "judgements")
    assert asked == 0
    assert from_journal > 0
    assert bytes_of(copy) == before


def test_added_personas_are_the_only_ones_asked(copy: Path) -> None:
    before = pl.read_parquet(copy / "comparisons/*.parquet")["persona_ids"].list.len().sum()
    done = build(copy.parent.parent, *SMALL, "--set", "personas.0.count=80")
    assert Path(done["dataset"]) != copy
    after = pl.read_parquet(Path(done["dataset"]) / "comparisons/*.parquet")["persona_ids"].list.len().sum()
    assert usage(done, "candidates") == (0, 80)
    assert usage(done, "judgements") == ((after - before) * 2, before * 2)
    assert after - before > 1000


def test_a_changed_template_asks_only_what_it_changed(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "prompts" / "judge"
    (tmp_path / "judge.md").write_text((folder / "pairwise.md").read_text())
    arguments = [*SMALL, "--set", f"judgements.templates=[judge/pairwise, {tmp_path}/judge.md]"]
    first = build(tmp_path / "out", *arguments)
    asked, _ = usage(first, "judgements")
    (tmp_path / "judge.md").write_text((folder / "pairwise.md").read_text().replace("Which answer would", "Which of the two would"))
    second = build(tmp_path / "out", *arguments)
    assert second["dataset"] == first["dataset"]
    assert set(second["stages"]) == {"judgements", "labels", "preferences", "exports"}
    assert usage(second, "judgements") == (asked, asked), "the first template from the journal, the changed one asked"
    assert usage(first, "judgements") == (asked, asked), "two templates that say the same are one question"
    prefloom("validate", second["dataset"])


def test_the_rounds_of_a_target_go_on_from_each_other_and_ask_once_where_failures_are_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefloom.flows.build import build_dataset
    from prefloom.flows.engines.protocol import Reply, Request
    from prefloom.flows.engines.society import Society

    replies, asked = Society._replies, []

    def busy(self: Society, requests: list[Request]) -> list[Reply]:
        asked.extend(request.messages for request in requests if request.letters)
        down = [bool(request.letters) and hash(request.messages) % 10 == 0 for request in requests]
        return [Reply(error="HTTP 503") if lost else reply for lost, reply in zip(down, replies(self, requests), strict=True)]

    monkeypatch.setattr(Society, "_replies", busy)
    settings = ["comparisons.prompts_per_persona=2", "target={preferences: 150, budget: 500}", "limits.failures=1"]
    done = build_dataset(SMALL[0], str(tmp_path), [*SMALL[2::2], *settings], retry_failed=True)
    assert done["judgements"].rejected["failure/error"] > 10
    assert len(asked) == len(set(asked)) == done["judgements"].asked
    (run,) = (tmp_path / "runs").iterdir()
    assert len(list((run / "targets").glob("part-*.parquet"))) > 1


def test_failures_stop_a_build_and_can_be_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefloom.flows.build import build_dataset
    from prefloom.flows.dataset.resolve import resolve
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.engines.protocol import Reply, Request
    from prefloom.flows.engines.society import Society
    from prefloom.flows.steps import freshness
    from prefloom.schemas.errors import InputError

    replies = Society._replies

    def busy(self: Society, requests: list[Request]) -> list[Reply]:
        down = [bool(request.letters) and hash(request.messages) % 4 == 0 for request in requests]
        return [Reply(error="HTTP 503") if lost else reply for lost, reply in zip(down, replies(self, requests), strict=True)]

    monkeypatch.setattr(Society, "_replies", busy)
    run = Run.create(tmp_path, resolve(SMALL[0], SMALL[2::2]))
    for _ in range(2):  # the second time nothing is asked, and the limit still holds
        with pytest.raises(InputError, match=r"judgements: limits.failures: found \d+ of 2\d\d\d readings lost"):
            build_dataset(SMALL[0], str(tmp_path), SMALL[2::2])
    assert not run.store.exists("manifest.json")
    assert freshness.has_failures(run)
    monkeypatch.setattr(Society, "_replies", replies)
    done = build_dataset(SMALL[0], str(tmp_path), SMALL[2::2], retry_failed=True)
    failed = done["judgements"].asked
    assert 100 < failed < done["judgements"].from_journal
    assert "failure/error" not in done["judgements"].rejected
    assert freshness.is_finished(run, freshness.materials(run))
    log = json.loads(run.store.read("run.json"))["executions"]
    assert [entry["status"] for entry in log] == ["failed", "failed", "built"]
    assert log[2]["stages"]["judgements"]["asked"] == failed
    clean = build(tmp_path / "clean", *SMALL)
    assert bytes_of(run.folder) == bytes_of(Path(clean["dataset"]))


def test_internal_faults_keep_their_traceback_and_leave_no_manifest(copy: Path) -> None:
    shutil.rmtree(copy / "labels")
    code = (
        "import sys; from prefloom.flows.steps import labels\n"
        "labels.mean_bias = lambda store: 1 / 0\n"
        "from prefloom.flows.cli import main\n"
        f"sys.argv = ['prefloom', 'build', *{SMALL!r}, '--out', {str(copy.parent.parent)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr
    assert not (copy / "manifest.json").exists()
    assert prefloom("validate", str(copy), check=False).returncode == 2
    prefloom("build", *SMALL, "--out", str(copy.parent.parent))
    prefloom("validate", str(copy))


def test_when_nothing_is_left_the_build_says_which_check_ate_it(tmp_path: Path) -> None:
    done = prefloom("build", *SMALL, "--set", "candidates.max_tokens=2", "--out", str(tmp_path), check=False)
    assert done.returncode == 2
    assert "candidates: found nothing left of 80 answers (80 check/truncated)" in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_files_of_an_unfinished_stage_are_made_again(copy: Path) -> None:
    before = bytes_of(copy)
    (copy / "judgements" / "_stage.json").write_text("{")
    (copy / "judgements" / "part-00002.parquet").write_bytes(b"PAR1 torn")
    assert usage(build(copy.parent.parent, *SMALL), "judgements")[0] == 0
    assert bytes_of(copy) == before


def test_what_a_finished_build_has_lost_is_made_again(copy: Path) -> None:
    before, out = bytes_of(copy), copy.parent.parent
    shutil.rmtree(copy / "rejected")
    assert usage(build(out, *SMALL), "judgements")[0] == 0
    assert bytes_of(copy) == before
    (copy / "manifest.json").write_text("")
    assert build(out, *SMALL)["status"] == "built"
    assert bytes_of(copy) == before
    (copy / "labels" / "part-00001.parquet").unlink()
    shutil.copy(copy / "labels" / "part-00000.parquet", copy / "labels" / "part-00077.parquet")
    shutil.copy(copy / "labels" / "part-00000.parquet", copy / "labels" / "part-00001.parquet")
    damaged = bytearray((copy / "labels" / "part-00002.parquet").read_bytes())
    damaged[-40:-8] = bytes(32)
    (copy / "labels" / "part-00002.parquet").write_bytes(damaged)
    build(out, *SMALL)
    assert bytes_of(copy) == before
    (copy / "recipe.resolved.yaml").unlink()
    build(out, *SMALL)
    assert (copy / "recipe.resolved.yaml").exists()


def test_a_finished_build_answers_for_its_limits(copy: Path) -> None:
    refused = prefloom("build", *SMALL, "--set", "limits.failures=0", "--out", str(copy.parent.parent), check=False)
    assert refused.returncode == 2
    assert "judgements: limits.failures" in refused.stderr
    # The society refuses the same readings again, but they are asked, and the limit is still named.
    again = prefloom("build", *SMALL, "--set", "limits.failures=0", "--out", str(copy.parent.parent), "--retry-failed", check=False)
    assert again.returncode == 2
    assert "0 from the journal" not in again.stderr
    assert re.search(r"judgements +[\d,]+ readings kept, [\d,]+ rejected .*asked [1-9]", again.stderr)


def test_when_nobody_is_asked_the_build_says_so(tmp_path: Path) -> None:
    none = ["personas.0.count=1", "prompts.0.count=1", "splits.validation=0.5", "splits.test=0.49", "name=cell"]
    overrides = [part for value in none for part in ("--set", value)]
    for seed in range(40):
        done = prefloom("build", "demo", *overrides, "--set", f"seed={seed}", "--out", str(tmp_path), check=False)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert "judgements: found nothing left of 0 readings" in done.stderr
            return
    raise AssertionError("no seed put the pair into a cell that is never asked")


@pytest.mark.parametrize("out", ["a::b", "g[1]", "~x"])
def test_odd_folder_names_are_taken_to_the_letter(tmp_path: Path, out: str) -> None:
    few = [*SMALL, "--set", "personas.0.count=4", "--set", "prompts.0.count=4"]
    done = json.loads(prefloom("build", *few, "--out", str(tmp_path / out), "--json").stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out]
    prefloom("validate", done["dataset"])


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = prefloom("build", *SMALL, "--out", str(tmp_path / "out"), check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_ctrl_c_ends_the_build_and_its_server(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_HOME": str(tmp_path / "p")}
    recipe = ["demo", "--set", "personas.0.count=80", "--set", "run.report=false", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "prefloom.flows.cli", "build", *recipe]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    while "comparisons" not in process.stderr.readline():
        assert process.poll() is None
    while not list(tmp_path.glob("journal/*small*/open-*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert rest.splitlines()[-1] == "prefloom: interrupted; the same command goes on from here"
    assert "Traceback" not in rest
    left = json.loads(prefloom("plan", *recipe, "--json").stdout)["total"]["left"]
    assert left > 10_000, "most of the 31,456 readings were not asked after the key was pressed"
    prefloom("build", *recipe)


def test_no_process_outlives_a_killed_build(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {
        "PREFLOOM_TEST": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "p"),
    }
    command = [sys.executable, "-m", "prefloom.flows.cli", "build", *SMALL, "--out", str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def alive() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"PREFLOOM_TEST={tmp_path}".encode() in (entry / "environ").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
        return found

    deadline = time.monotonic() + 30
    while len(alive()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(alive()) == 2, "the build and its server"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive() == []


def test_the_export_loads_as_trl_expects_it(small: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = {split.name: str(split / "*.parquet") for split in (small / "exports/trl").iterdir()}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    assert "train" in loaded
    row = loaded["train"][0]
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
    assert row["margin"] > 0
    assert sum(part.num_rows for part in loaded.values()) == pl.read_parquet(small / "preferences/*.parquet").height


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "no-such-recipe"], "no such file"),
        (["build", "demo", "--set", "personas.0.cuont=3"], "did you mean 'count'"),
        (["build", "demo", "--set", "judgements.templates=[judge/nope]"], "no such template"),
        (["build", "demo", "--set", "models.judge.character=smal"], "models.judge.character: found 'smal'; did you mean 'small'"),
        (["build", "own_answers"], "personas.0.path: found"),
        (["validate", "/nowhere"], "no manifest.json"),
        (["show", "/tmp"], "no manifest.json"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    if arguments[0] == "build" and "--out" not in arguments:
        arguments = [*arguments, "--out", str(tmp_path)]
    done = prefloom(*arguments, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    as_json = prefloom(*arguments, "--json", check=False)
    assert words in json.loads(as_json.stdout)["error"]


def test_an_error_about_a_hostile_file_cannot_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"text\x1b[2J\n": "a"}) + "\n")
    overrides = ["--set", f"prompts.0={{source: file, path: {tmp_path}/p.jsonl}}", "--out", str(tmp_path / "out")]
    done = prefloom("build", "demo", *overrides, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "\x1b" not in done.stderr
    assert "\\x1b[2J" in done.stderr


def test_every_command_speaks_json(small: Path) -> None:
    assert json.loads(prefloom("validate", str(small), "--json").stdout)["valid"] is True
    shown = json.loads(prefloom("show", str(small), "--json", "-n", "2").stdout)
    assert len(shown["preferences"]) == 2
    assert json.loads(prefloom("build", *SMALL, "--out", str(small.parent.parent), "--json").stdout)["status"] == "already built"
