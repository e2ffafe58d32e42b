"""Personas: balanced, stable when more are wanted, from three kinds of source."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.steps.grid import _walk
from prefloom.flows.steps.texts import Sieve, is_refusal, latin_share
from prefloom.schemas.errors import InputError
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.texts import is_blank, length_only, normal
from tests.helpers import run_stage, table


def descriptions(tmp_path: Path, *sources: dict[str, object]) -> pl.DataFrame:
    return table(run_stage(tmp_path, "personas", personas=list(sources)), "personas")


def test_the_grid_is_balanced_and_distinct(tmp_path: Path) -> None:
    frame = descriptions(tmp_path, {"source": "grid", "count": 240})
    assert frame["description"].is_unique().all()
    traits = Counter((t["name"], t["value"]) for row in frame["traits"] for t in row)
    for name, values in (("length", 3), ("tone", 4), ("work", 8), ("evidence", 4)):
        counts = [n for (trait, _), n in traits.items() if trait == name]
        assert len(counts) == values
        assert max(counts) - min(counts) <= 1, name


def test_more_personas_keep_those_already_there(tmp_path: Path) -> None:
    few = set(descriptions(tmp_path / "a", {"source": "grid", "count": 40})["persona_id"])
    many = set(descriptions(tmp_path / "b", {"source": "grid", "count": 90})["persona_id"])
    assert few < many
    assert len(many) == 90


def test_a_file_is_ranked_by_hash_and_empty_and_repeated_rows_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("who,key\n" + "".join(f"person {n},{n}\n" for n in range(30)) + 'PERSON  3,x\n"",y\n')
    source = {"source": "file", "path": str(path), "fields": {"description": "who", "id": "key"}}
    run = run_stage(tmp_path / "all", "personas", personas=[source])
    assert table(run, "personas").height == 30
    rejected = table(run, "rejected")
    assert sorted(rejected["reason"]) == ["duplicate", "empty"]
    assert rejected.filter(pl.col("reason") == "duplicate")["duplicate_of"][0] in set(table(run, "personas")["persona_id"])
    few = descriptions(tmp_path / "few", source | {"count": 10})
    more = descriptions(tmp_path / "more", source | {"count": 20})
    assert set(few["persona_id"]) < set(more["persona_id"])
    with pytest.raises(InputError, match="30 distinct personas"):
        descriptions(tmp_path / "many", source | {"count": 31})


def test_templates_make_every_combination(tmp_path: Path) -> None:
    source = {
        "source": "template",
        "text": "This user prefers {{ mood }} and {{ size }} reviews.",
        "values": {"mood": ["positive", "negative"], "size": ["concise", "verbose"]},
    }
    frame = descriptions(tmp_path, source)
    assert "This user prefers negative and concise reviews." in frame["description"].to_list()
    assert frame.height == 4


def test_a_grid_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("age: {young: [A student], old: [A pensioner]}\npet: {dog: [a dog], cat: [a cat, two cats]}\n")
    (tmp_path / "one.md").write_text("---\ninputs: [age, pet]\n---\n## user\n{{ age }} with {{ pet }}\n")
    grid = {"source": "grid", "path": str(tmp_path / "grid.yaml"), "template": str(tmp_path / "one.md")}
    assert descriptions(tmp_path / "a", grid | {"count": 6}).height == 6
    with pytest.raises(InputError, match="at most 6"):
        descriptions(tmp_path / "b", grid | {"count": 7})
    with pytest.raises(InputError, match="inputs"):
        descriptions(tmp_path / "c", {**grid, "count": 2, "template": "persona/describe"})
    (tmp_path / "grid.yaml").write_text("age: [young, old]")
    with pytest.raises(InputError, match="trait -> value -> list of wordings"):
        descriptions(tmp_path / "d", grid | {"count": 2})


def test_the_walk_is_the_same_for_every_count() -> None:
    grid = {"a": {"x": ["1"], "y": ["2"]}, "b": {"p": ["3"], "q": ["4"], "r": ["5"]}}
    walk = [step for _, step in zip(range(12), _walk(grid, 3), strict=False)]
    assert [step for _, step in zip(range(6), _walk(grid, 3), strict=False)] == walk[:6]
    assert {traits["b"] for traits, _ in walk[:3]} == {"p", "q", "r"}


def test_small_questions_about_texts() -> None:
    assert normal("  Héllo,\n WORLD\u00a0") == "héllo, world"
    assert is_blank(" \u200b\x00\n")
    assert not is_blank("🦉")
    assert length_only("Yes.", "yes.  And more")
    assert latin_share("Привет, мир") == 0
    assert latin_share("naïve café 123") == 1
    assert latin_share("12345") == 1
    assert is_refusal("I'm sorry, but I can't assist with that.")
    assert is_refusal("As an AI language model, I cannot provide medical advice.")
    assert not is_refusal("I can help with that. I cannot promise anything, though.")
    sieve = Sieve("prompts")
    rows = [
        Prompt(prompt_id=str(n), text=t, domain="", source="file", source_id=None, split="") for n, t in enumerate(["a", " A ", "\n", "b"])
    ]
    assert [sieve.admit(row, row.prompt_id, row.text) for row in rows] == [True, False, False, True]
    assert sieve.rejected()["duplicate_of"].to_list() == ["0", None]
