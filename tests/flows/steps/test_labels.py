"""Labels, worked by hand; and the checks that turn them into preferences."""

from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.steps.labels import label
from prefloom.flows.steps.preferences import reason
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.label import Judgement
from tests.helpers import run_stage, table


def judgements(*reads: tuple[str, str, float, float]) -> pl.DataFrame:
    """(template, order, log-odds of the first, mass)."""
    rows = [("p", "c", "q", order, template, 0, "m", value, mass) for template, order, value, mass in reads]
    return pl.DataFrame(rows, schema=list(Judgement.model_fields), orient="row")


def test_the_worked_example() -> None:
    (row,) = label(judgements(("t", "ab", 1.9, 0.9), ("t", "ba", -0.7, 0.8)), {"t": 0.0}).iter_rows(named=True)
    assert (row["margin"], row["bias"], row["probability"]) == (1.3, 0.6, 0.7858)
    assert (row["mass"], row["consistency"], row["judgements"]) == (0.8, 1.0, 2)


def test_orders_that_disagree_only_by_the_mean_bias_are_consistent() -> None:
    reads = judgements(("t", "ab", 1.0, 1.0), ("t", "ba", 0.2, 1.0))
    assert label(reads, {"t": 0.6})["consistency"][0] == 1.0
    assert label(reads, {"t": 0.0})["consistency"][0] == 0.0
    assert label(reads, {"t": 0.6})["margin"][0] == 0.4


def test_templates_are_averaged_and_a_lonely_order_is_left_out() -> None:
    reads = judgements(
        ("t", "ab", 2.0, 1.0), ("t", "ba", -1.0, 1.0), ("u", "ab", -1.0, 0.7), ("u", "ba", -0.4, 1.0), ("v", "ab", 9.0, 0.1)
    )  # fmt: skip
    (row,) = label(reads, {"t": 0.0, "u": 0.0, "v": 0.0}).iter_rows(named=True)
    assert row["margin"] == pytest.approx((1.5 + -0.3) / 2)
    assert (row["consistency"], row["judgements"], row["mass"]) == (0.5, 4, 0.7)
    assert label(judgements(("v", "ab", 9.0, 0.1)), {"v": 0.0}).is_empty()


def test_the_order_of_the_rows_changes_nothing() -> None:
    reads = judgements(*[(f"t{n}", order, 0.1 * n - 0.25, 1.0) for n in range(9) for order in ("ab", "ba")])
    bias = {f"t{n}": 0.01 * n for n in range(9)}
    assert label(reads, bias).equals(label(reads.reverse(), bias))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"length_only": True}, "length_only"),
        ({"mass": 0.49}, "low_mass"),
        ({"consistency": 0.5}, "inconsistent"),
        ({"margin": -0.19}, "undecided"),
        ({"margin": -0.2}, None),
        ({"mass": 0.1, "margin": 0.0, "consistency": 0.0}, "low_mass"),
    ],
)
def test_each_check_names_its_reason(changes: dict[str, object], expected: str | None) -> None:
    row = {
        "length_only": False,
        "mass": 0.9,
        "consistency": 1.0,
        "agreement": 1.0,
        "confidence": 1.0,
        "residual": None,
        "circle": False,
        "margin": 1.0,
    } | changes
    assert pl.DataFrame([row]).select(reason(LabelChecks()).alias("r"))["r"][0] == expected


def test_a_margin_of_zero_is_never_a_preference() -> None:
    row = {
        "length_only": False,
        "mass": 0.9,
        "consistency": 1.0,
        "agreement": 1.0,
        "confidence": 1.0,
        "residual": None,
        "circle": False,
        "margin": 0.0,
    }
    assert pl.DataFrame([row]).select(reason(LabelChecks(min_margin=0.0)).alias("r"))["r"][0] == "undecided"


def test_every_label_is_kept_or_rejected(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "preferences", personas=[{"source": "grid", "count": 60}])
    labels, preferences, rejected = (table(run, name) for name in ("labels", "preferences", "rejected"))
    stage = rejected.filter(pl.col("stage") == "preferences")
    assert labels.height == preferences.height + stage.height
    assert stage.height > 0
    asked = table(run, "comparisons")["persona_ids"].list.len().sum()
    assert asked == labels.height + rejected.filter(pl.col("stage") == "labels").height
