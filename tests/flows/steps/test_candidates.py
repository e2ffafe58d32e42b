"""Candidates: generated or imported, and what becomes of those that are unfit."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.schemas.errors import InputError
from tests.helpers import run_stage, table

PROMPTS = [{"q": str(n), "text": f"What is thing {n}?"} for n in range(6)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def imported(tmp_path: Path, answers: list[dict[str, Any]], fields: dict[str, Any], **changes: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    tmp_path.mkdir(exist_ok=True)
    prompts = [{"source": "file", "path": jsonl(tmp_path / "p.jsonl", PROMPTS), "fields": {"text": "text", "id": "q"}}]
    source = {"source": "file", "path": jsonl(tmp_path / "a.jsonl", answers), "fields": fields}
    run = run_stage(tmp_path / "out", "candidates", prompts=prompts, candidates=source, **changes)
    return table(run, "candidates"), table(run, "rejected")


def test_generated_answers_say_how_they_were_made(tmp_path: Path) -> None:
    run = run_stage(
        tmp_path, "candidates", candidates={"source": "models", "models": ["terse", "judge"], "views": [None, "a list"], "samples": 2}
    )
    frame = table(run, "candidates")
    assert frame.height + table(run, "rejected").height == 10 * 2 * 2 * 2
    assert set(frame["model"]) == {"terse", "judge"}
    assert set(frame["view"]) == {None, "a list"}
    assert set(frame["seed"]) == {0, 1}
    assert frame["candidate_id"].is_unique().all()


def test_answers_are_linked_by_id_or_by_text(tmp_path: Path) -> None:
    answers = [{"q": p["q"], "task": p["text"], "text": f"answer {m} to {p['q']}", "by": m} for p in PROMPTS for m in "ab"]
    by_id, _ = imported(tmp_path / "id", answers, {"prompt_id": "q", "model": "by"})
    by_text, _ = imported(tmp_path / "text", answers, {"prompt": "task", "model": "by"})
    assert by_id.height == 12
    assert by_id.equals(by_text)


def test_unfit_answers_are_rejected_with_a_reason_and_their_text(tmp_path: Path) -> None:
    answers = [
        {"q": "0", "text": "  \n "},
        {"q": "1", "text": "A good answer."},
        {"q": "1", "text": "a GOOD  answer."},
        {"q": "2", "text": "I'm sorry, but I can't help with that."},
        {"q": "3", "text": "Это хороший ответ."},
        {"q": "none", "text": "An answer to nothing."},
        {"q": "4", "text": "A good answer."},
    ]
    kept, rejected = imported(tmp_path, answers, {"prompt_id": "q", "model": None})
    assert sorted(kept["text"]) == ["A good answer.", "A good answer."]
    assert set(kept["model"]) == {"unknown"}
    assert dict(rejected.select("reason", "kind").iter_rows()) == dict.fromkeys(
        ["empty", "duplicate", "refused", "wrong_language", "unknown_prompt"], "check"
    )
    (duplicate,) = rejected.filter(pl.col("reason") == "duplicate").iter_rows(named=True)
    assert duplicate["duplicate_of"] in set(kept["candidate_id"])
    assert json.loads(duplicate["row"])["text"] == "a GOOD  answer."


def test_checks_can_be_switched_off(tmp_path: Path) -> None:
    answers = [{"q": "2", "text": "I'm sorry, but I can't help with that."}, {"q": "3", "text": "Это хороший ответ."}]
    checks = {"candidates": {"refused": False, "min_latin_share": 0.0}}
    kept, rejected = imported(tmp_path, answers, {"prompt_id": "q", "model": None}, checks=checks)
    assert (kept.height, rejected.height) == (2, 0)


def test_cut_off_answers_are_rejected(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "candidates", candidates={"source": "models", "models": ["terse"], "max_tokens": 3})
    assert table(run, "candidates").height == 0
    assert set(table(run, "rejected")["reason"]) == {"truncated"}


def test_a_file_that_links_to_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no value that names a prompt"):
        imported(tmp_path, [{"q": "99", "text": "x"}], {"prompt_id": "q", "model": None})


def test_an_id_must_mean_one_prompt(tmp_path: Path) -> None:
    twice = [{"q": "1", "text": "How do I boil an egg?"}, {"q": "1", "text": "How do I pay my taxes?"}]
    prompts = [{"source": "file", "path": jsonl(tmp_path / "p.jsonl", twice), "fields": {"text": "text", "id": "q"}}]
    with pytest.raises(InputError, match="line 2: found the id '1' a second time, with another text"):
        run_stage(tmp_path / "out", "prompts", prompts=prompts)


def test_answers_to_either_id_of_one_text_are_linked(tmp_path: Path) -> None:
    same = [{"q": "1", "text": "How do I boil an egg?"}, {"q": "2", "text": "How do I boil an egg?"}]
    answers = [{"q": "1", "text": "In water."}, {"q": "2", "text": "Slowly."}]
    prompts = [{"source": "file", "path": jsonl(tmp_path / "p.jsonl", same), "fields": {"text": "text", "id": "q"}}]
    source = {"source": "file", "path": jsonl(tmp_path / "a.jsonl", answers), "fields": {"prompt_id": "q", "model": None}}
    run = run_stage(tmp_path / "out", "candidates", prompts=prompts, candidates=source)
    assert sorted(table(run, "candidates")["text"]) == ["In water.", "Slowly."]
    assert table(run, "rejected")["reason"].to_list() == ["duplicate"]


def test_a_prompt_that_is_not_drawn_shadows_nobody(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "data" / "seeds" / "prompts.jsonl"
    sources = [{"source": "seeds", "count": 1}, {"source": "file", "path": str(shipped)}]
    run = run_stage(tmp_path, "prompts", prompts=sources)
    assert table(run, "prompts").height == 120
    assert table(run, "rejected")["duplicate_of"].is_in(table(run, "prompts")["prompt_id"].to_list()).all()


def test_two_names_of_one_model_are_asked_once(tmp_path: Path) -> None:
    models = {"one": {"engine": "society", "character": "terse"}, "two": {"engine": "society", "character": "terse"}}
    models["judge"] = {"engine": "society", "character": "good"}
    source = {"source": "models", "models": ["one", "two"]}
    run = run_stage(tmp_path, "candidates", models=models, candidates=source)
    (journal,) = (tmp_path / "journal").glob("society_terse*")
    assert pl.read_parquet(journal / "sealed-*.parquet").height == 10
    assert set(table(run, "rejected")["reason"]) == {"duplicate"}


def test_a_file_that_changes_after_it_was_hashed_is_refused(tmp_path: Path) -> None:
    from prefloom.flows.dataset.inputs import file_sha256, rows

    path = Path(jsonl(tmp_path / "p.jsonl", PROMPTS))
    before = file_sha256(path)
    assert len(list(rows(path, ["text"], before))) == 6
    path.write_text(path.read_text() + '{"q": "9", "text": "late"}\n')
    with pytest.raises(InputError, match="other content than when the build began"):
        list(rows(path, ["text"], before))
