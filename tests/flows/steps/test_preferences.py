"""Checks that look at more than one label: coverage, circles, personas that fit on no scale; and what validation makes of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset.confidence import Fitted
from prefloom.flows.dataset.invariants import preferences as hold
from prefloom.flows.dataset.invariants_sureness import structure, sureness
from prefloom.flows.steps.preferences import threshold, verdicts
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.label import Label
from tests.helpers import run_stage, table

SIDES = [("c1", "a", "b", 2.0), ("c2", "b", "c", 1.5), ("c3", "a", "c", -0.4)]
FLAGS = pl.DataFrame(
    {"comparison_id": ["c1", "c2", "c3"], "length_only": [False] * 3, "voters": [1] * 3, "minority_share": [0.0] * 3, "entropy": [0.0] * 3}
)


def labels(**changes: list[Any]) -> pl.DataFrame:
    """A circle: three labels of one persona."""
    rows = [
        Label(
            persona_id="p", comparison_id=comparison, prompt_id="q", candidate_a=a, candidate_b=b, margin=margin, probability=0.6, bias=0.1,
            mass=0.9, consistency=1.0, agreement=0.0, confidence=abs(margin), judgements=2, split="train",
        )
        for comparison, a, b, margin in SIDES
    ]  # fmt: skip
    return pl.DataFrame([row.model_dump() for row in rows]).with_columns(**{name: pl.Series(values) for name, values in changes.items()})


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ({}, {}),
        ({"intransitive": "reject"}, {"c3": "intransitive"}),
        ({"max_residual": 0.5}, dict.fromkeys(("c1", "c2", "c3"), "erratic")),
        ({"max_residual": 1.0}, {}),
        ({"orders": "raw"}, dict.fromkeys(("c1", "c2", "c3"), "inconsistent")),
        ({"orders": "raw", "min_consistency": 0.0}, {}),
        ({"min_confidence": 1.6}, {"c2": "unsure", "c3": "unsure"}),
        ({"min_margin": 1.0, "min_confidence": 1.6}, {"c2": "unsure", "c3": "undecided"}),
        ({"coverage": 0.6}, {"c3": "unsure"}),
        ({"coverage": 0.0}, dict.fromkeys(("c1", "c2", "c3"), "unsure")),
    ],
)
def test_each_check_removes_what_it_says(checks: dict[str, Any], expected: dict[str, str]) -> None:
    rules = LabelChecks(**checks)
    least = threshold(labels().group_by("confidence").len(), rules.coverage) if rules.coverage is not None else None
    kept, rejected = verdicts(labels(), FLAGS, rules, least)
    assert dict(rejected.select("row_id", "reason").iter_rows()) == expected
    assert set(kept["comparison_id"]) == {"c1", "c2", "c3"} - set(expected)


def test_equally_sure_labels_stay_together() -> None:
    values = pl.Series([3.0, 1.0, 1.0, 1.0, 0.0])
    least = threshold(pl.DataFrame({"confidence": [1.0, 3.0, 1.0, 0.0], "len": [1, 1, 2, 1]}), 0.4)  # counted in two pieces
    assert least == 1.0
    assert (values >= least).sum() == 4


def test_a_key_that_is_not_used_leaves_no_trace_in_a_recipe() -> None:
    assert set(LabelChecks().model_dump()) == {"min_mass", "min_margin", "min_consistency", "length_only"}


def test_what_a_stage_rejects_is_what_validation_expects(tmp_path: Path) -> None:
    rules = {"coverage": 0.5, "intransitive": "reject", "max_residual": 0.9, "min_margin": 0.0, "min_consistency": 0.0, "min_mass": 0.0}
    pairs = {"per_prompt": 3, "per_persona_prompt": 3}
    run = run_stage(
        tmp_path, "preferences", personas=[{"source": "grid", "count": 8}], prompts=[{"source": "seeds", "count": 4}],
        comparisons=pairs, checks={"labels": rules}, models={"terse": {"engine": "society", "character": "terse"},
        "judge": {"engine": "society", "character": "small"}},
    )  # fmt: skip
    names = ("personas", "judgements", "labels", "comparisons", "candidates", "preferences", "rejected")
    data, recipe = {name: table(run, name) for name in names}, run.resolved.recipe
    marked = structure(data["labels"], recipe.checks.labels)
    assert sureness(data).problems == hold(data, recipe, marked).problems == []
    kept = data["preferences"].height / data["labels"].height
    assert 0.3 < kept <= 0.51
    assert data["preferences"]["confidence"].min() >= marked["floor"][0]  # type: ignore[operator]
    shifted = data | {"labels": data["labels"].with_columns(pl.col("confidence") + 0.5)}
    assert "wrong confidence" in sureness(shifted).problems[0]
    loose = structure(data["labels"], LabelChecks(coverage=0.9))
    assert hold(data, recipe, loose).problems


def test_a_margin_on_an_edge_of_the_grid_may_be_rounded_either_way() -> None:
    reads = pl.DataFrame(
        [("p", "c", "ab", "t", 0, 1.2345), ("p", "c", "ba", "t", 0, 1.2344)],
        schema=["persona_id", "comparison_id", "order", "template", "repeat", "log_odds"], orient="row",
    )  # fmt: skip
    data = {
        "judgements": reads,
        "comparisons": pl.DataFrame({"comparison_id": ["c"], "first_id": ["a"], "second_id": ["b"]}),
        "candidates": pl.DataFrame({"candidate_id": ["a", "b"], "text": ["long" * 100, "short"]}),
        "personas": pl.DataFrame({"persona_id": ["p"], "kind": ["judge"]}),
    }
    habits = Fitted(length=1.0, calm=0.0, signal=0.0, scatter=0.0, swing=np.ones(1))
    for margin, sure in ((0.0, 0.0), (0.0001, -round(math.log(400) - math.log(5), 4) + 0.0001)):
        labels = {"persona_id": "p", "comparison_id": "c", "margin": margin, "confidence": sure, "agreement": 0.0}
        assert not sureness(data | {"labels": pl.DataFrame([labels])}, fitted=habits).problems
        assert sureness(data | {"labels": pl.DataFrame([labels | {"confidence": sure + 0.1}])}, fitted=habits).problems
