"""Comparisons: quotas met, the never-asked cells empty, and nobody's questions moved by a newcomer."""

from pathlib import Path

import polars as pl

from prefloom.schemas.splits import CELLS
from tests.helpers import run_stage, table


def asked(run_folder: Path, **changes: object) -> pl.DataFrame:
    run = run_stage(run_folder, "comparisons", **changes)
    splits = table(run, "personas").select(pl.col("persona_id").alias("persona_ids"), pl.col("split").alias("persona_split"))
    prompts = table(run, "prompts").select("prompt_id", pl.col("split").alias("prompt_split"))
    return table(run, "comparisons").explode("persona_ids").join(splits, on="persona_ids").join(prompts, on="prompt_id")


def test_quotas_are_met(tmp_path: Path) -> None:
    frame = asked(tmp_path, comparisons={"per_prompt": 2, "prompts_per_persona": 4, "per_persona_prompt": 1})
    assert frame.select("prompt_id", "comparison_id").unique().group_by("prompt_id").len()["len"].max() == 2
    assert frame.group_by("persona_ids", "prompt_id").len()["len"].max() == 1
    per_persona = frame.group_by("persona_ids").len()["len"]
    assert per_persona.max() == 4
    assert (frame["first_id"] < frame["second_id"]).all()
    assert set(frame["order"]) == {"ab"}


def test_some_cells_are_never_asked(tmp_path: Path) -> None:
    sources = {"personas": [{"source": "grid", "count": 60}], "prompts": [{"source": "seeds", "count": 40}]}
    frame = asked(tmp_path, **sources, splits={"validation": 0.3, "test": 0.3})
    assert set(frame.select("persona_split", "prompt_split").iter_rows()) == set(CELLS)


def test_a_newcomer_moves_nobody(tmp_path: Path) -> None:
    limits = {"per_prompt": 3, "prompts_per_persona": 3, "per_persona_prompt": 2}
    before = asked(tmp_path / "a", comparisons=limits)
    after = asked(tmp_path / "b", comparisons=limits, personas=[{"source": "grid", "count": 33}])
    old = after.join(before.select("persona_ids").unique(), on="persona_ids", how="semi")
    key = ["comparison_id", "persona_ids"]
    assert old.select(key).sort(key).equals(before.select(key).sort(key))
    assert after["persona_ids"].n_unique() == 33


def test_prompts_with_fewer_than_two_answers_are_rejected(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "comparisons", candidates={"source": "models", "models": ["terse"], "samples": 1})
    assert table(run, "comparisons").height == 0
    assert table(run, "rejected")["reason"].to_list() == ["too_few_candidates"] * 10
