"""What the filters took and the pilot chose, counted."""

from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import choices, manifest, tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.pilot import PilotPair
from tests.vectored import leave_out, vectored


def piloted(store: Store, inclusion: list[float], dominated: list[bool | None]) -> None:
    """Give the dataset a pilot that found a pair for each of its comparisons and one more, and comparisons of these weights, in turn."""
    compared = tables.read(store, "comparisons/part-*.parquet", Comparison)
    places = range(compared.height)
    weighed = compared.with_columns(
        pl.Series("inclusion", [inclusion[i % len(inclusion)] for i in places]),
        pl.Series("dominated", [dominated[i % len(dominated)] for i in places], dtype=pl.Boolean),
        pl.Series("disagreement", [i % 4 / 10 for i in places]),
    )
    for name in store.list("comparisons/part-*.parquet"):
        store.remove(name)
    tables.write(store, "comparisons/part-00000.parquet", Comparison, weighed)
    pairs = [
        PilotPair(
            comparison_id=row["comparison_id"],
            prompt_id=row["prompt_id"],
            first_id=row["first_id"],
            second_id=row["second_id"],
            distance=0.2,
            gap=None,
            disagreement=row["disagreement"],
            strength=None,
            persona_ids=[],
            margins=[],
            biases=[],
        )
        for row in [*weighed.to_dicts(), weighed.to_dicts()[0] | {"disagreement": None}]
    ]
    tables.write(store, "pilot/part-00000.parquet", PilotPair, tables.frame(PilotPair, pairs))


def test_equal_weights_cost_nothing_and_unequal_ones_do(copy: Path) -> None:
    store = vectored(copy)
    assert choices.chosen(store) is None
    piloted(store, [0.5], [None])
    found = choices.chosen(store)
    assert found
    assert found.effective == pytest.approx(found.comparisons)
    assert (found.pairs, found.dominated, found.rated, found.inclusion) == (found.comparisons + 1, 0, 0, [0.5] * 5)
    piloted(store, [0.25, 1.0], [True, False, None, False])
    found = choices.chosen(store)
    assert found
    assert found.comparisons % 4 == 0
    assert found.effective == pytest.approx(found.comparisons * 2.5**2 / ((16 + 1) / 2))
    assert (found.dominated, found.rated) == (found.comparisons // 4, 3 * found.comparisons // 4)
    assert (found.inclusion[0], found.inclusion[-1]) == (0.25, 1.0)
    assert len(found.of_all) == len(found.of_chosen) == found.comparisons


def test_what_went_is_counted_by_stage_and_reason(copy: Path) -> None:
    store = vectored(copy)
    leave_out(store, "personas", "near_duplicate", [({"persona_id": f"{i:016x}"}, "f" * 16, "cosine 0.99") for i in range(3)])
    leave_out(store, "personas", "odd", [({"persona_id": f"{i:016x}"}, None, "") for i in range(2)])
    rows = choices.filtered(manifest.load(store))
    assert [row.stage for row in rows] == ["personas", "prompts", "candidates"]
    assert rows[0] == ("personas", 35, 30, {"duplicate": 0, "near_duplicate": 3, "less_diverse": 0, "below_floor": 0}, 2)
    assert all(row.considered == row.kept + sum(row.reasons.values()) + row.other for row in rows)
