"""Controls: nobody, once more, somebody else; what they cost, whom they take, and what labels and forecasts make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import signal, stages
from prefloom.flows.dataset.evidence import load
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps import freshness
from prefloom.flows.steps.audit_generic import beside
from prefloom.flows.steps.controls import choose, other
from prefloom.flows.steps.forecast import forecast
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.controls import SignalLimits
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Recipe
from tests.auditing import MARGIN, evidence
from tests.helpers import BASE, make, resolved, run_stage, table

CHANGES: dict[str, Any] = {
    "prompts": [{"source": "seeds", "count": 8}],
    "judgements": {"model": "judge", "templates": ["judge/pairwise", "judge/reader"]},
    "controls": {"least": 40},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Built as far as labels. Do not write into it."""
    return run_stage(tmp_path_factory.mktemp("controls"), "labels", **CHANGES)


def kinds(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    nobody, own = pl.col("read_as") == "", pl.col("read_as") == pl.col("persona_id")
    return {"nobody": rows.filter(nobody), "again": rows.filter(own & ~nobody), "other": rows.filter(~own)}


def test_each_kind_is_read_as_often_as_asked(run: Run) -> None:
    parts, comparisons = kinds(table(run, "controls")), table(run, "comparisons")
    lost = table(run, "rejected").filter(pl.col("stage") == "controls").height
    assert parts["nobody"].height == 2 * comparisons.height
    assert set(parts["nobody"]["template"]) == {"judge/generic"}
    assert set(parts["again"]["repeat"]) == {1}
    assert set(parts["other"]["repeat"]) == set(parts["nobody"]["repeat"]) == {0}
    pairs = {name: set(parts[name].select("persona_id", "comparison_id").rows()) for name in ("again", "other")}
    assert len(pairs["again"]) == len(pairs["other"]) == 40
    assert pairs["again"] == pairs["other"], "both kinds take the same"
    entry = stages.entry(run.store, "controls")
    assert entry
    assert entry.considered == entry.kept + lost == 2 * comparisons.height + 2 * 2 * 80


def test_a_shuffled_reading_is_that_of_another_persona_and_costs_nothing(run: Run, tmp_path: Path) -> None:
    parts, splits = kinds(table(run, "controls")), dict(table(run, "personas").select("persona_id", "split").iter_rows())
    there = parts["other"].join(
        table(run, "judgements"),
        left_on=["read_as", "comparison_id", "order", "template"],
        right_on=["persona_id", "comparison_id", "order", "template"],
        suffix="_there",
    )
    assert there.height == parts["other"].height
    assert (there["log_odds"] == there["log_odds_there"]).all()
    readers = dict(table(run, "comparisons").select("comparison_id", "persona_ids").iter_rows())
    for persona, read_as, comparison in parts["other"].select("persona_id", "read_as", "comparison_id").iter_rows():
        near = [who for who in readers[comparison] if who != persona and splits[who] == splits[persona]]
        assert read_as != persona
        assert splits[read_as] == splits[persona] or not near
    fresh = run_stage(tmp_path, "judgements", **CHANGES)
    report, _ = make(fresh, "controls")
    assert report.asked == report.considered - parts["other"].height - (40 * 4 - parts["other"].height)
    assert table(fresh, "controls").equals(table(run, "controls")), "the same recipe, the same rows"


def test_a_forecast_counts_them(run: Run, tmp_path: Path) -> None:
    before = run_stage(tmp_path, "comparisons", **CHANGES)
    (ahead,) = [stage for stage in forecast(before, freshness.materials(before)).stages if stage.name == "controls"]
    entry = stages.entry(run.store, "controls")
    assert entry
    assert ahead.rows == entry.considered
    assert ahead.usage["judge"].calls == entry.usage["judge"].calls
    assert ahead.left["judge"].calls == entry.considered - 40 * 4
    assert ahead.bytes == pytest.approx(sum(file.bytes for file in entry.files), rel=0.3)


def test_the_share_decides_and_grows_without_moving_anybody() -> None:
    people = [f"{j:016x}" for j in range(20)]
    asked = pl.DataFrame({"comparison_id": [f"{i:016x}" for i in range(50)], "persona_ids": [people] * 50})

    def chosen(**settings: Any) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        found = choose(Recipe.model_validate(BASE | {"controls": settings}), asked, dict.fromkeys(people, "train"))
        again, shuffled = ({(c, who) for c, some in part.items() for who in some} for part in found)
        return again, shuffled

    again, shuffled = chosen(repeats=0.05, shuffled=0.2, least=10)
    assert (len(again), len(shuffled)) == (50, 200)
    assert again < shuffled
    assert chosen(repeats=0.0, shuffled=0.01, least=30)[0] == set()
    assert len(chosen(repeats=0.0, shuffled=0.01, least=30)[1]) == 30
    assert len(chosen(repeats=1.0, shuffled=0.01, least=5000)[1]) == 1000, "there are no more"


def test_whoever_reads_alone_borrows_from_everybody() -> None:
    ids = [f"{i:016x}" for i in range(4)]
    alone = Comparison.model_construct(None, comparison_id="c" * 16, persona_ids=ids[:1])
    assert other(1, ids[0], alone, {ids[0]: "train", ids[1]: "test", ids[2]: "train", ids[3]: "test"}) == ids[2]
    assert other(1, ids[0], alone, {ids[0]: "train", ids[1]: "test"}) == ids[1]


def test_labels_say_what_people_in_general_prefer(run: Run, tmp_path: Path) -> None:
    labels = table(run, "labels")
    assert labels["p_generic"].is_not_null().mean() > 0.95
    assert labels.group_by("comparison_id").agg(pl.col("p_generic").n_unique())["p_generic"].max() == 1
    without = run_stage(tmp_path, "labels", **CHANGES | {"controls": None})
    assert table(without, "labels")["p_generic"].is_null().all()
    assert table(without, "labels").drop("p_generic").equals(labels.drop("p_generic")), "controls enter no label"


def test_the_panel_and_its_limits(run: Run) -> None:
    found = signal.measure(load(run.store))
    assert (found.replicates, found.count) == ("templates", 2)
    assert 36 <= found.shuffled <= 40, "a few were not read in both orders"
    assert found.reliability.low < found.reliability.value < found.reliability.high <= 1
    assert found.label_reliability.value > found.reliability.value
    assert found.retest.value == found.retest_reliability == 1.0, "the society says the same again"
    assert found.own - found.majority == pytest.approx(found.over_majority.value)
    signal.check(run.store, SignalLimits(min_reliability=0.0, min_over_majority=-1.0, min_sensitivity=-1.0))
    with pytest.raises(InputError, match=r"limits\.signal\.min_reliability.*reliability 0\."):
        signal.check(run.store, SignalLimits(min_reliability=1.0))


def test_one_template_is_held_against_itself_in_the_other_order(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "labels", prompts=[{"source": "seeds", "count": 6}])
    found = signal.measure(load(run.store))
    assert (found.replicates, found.count, found.shuffled, found.repeats) == ("orders", 2, 0, 0)
    assert np.isfinite(found.reliability.value)
    assert np.isnan([found.sensitivity.value, found.retest.value, found.differs.value, found.over_generic.value]).all()
    with pytest.raises(InputError, match="sensitivity unknown"):
        signal.check(run.store, SignalLimits(min_sensitivity=0.0))


def test_a_recipe_says_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="controls that read nothing"):
        resolved(controls={"generic": False, "repeats": 0, "shuffled": 0})
    with pytest.raises(ValueError, match="min_sensitivity without shuffled readings"):
        resolved(limits={"signal": {"min_sensitivity": 0.1}})
    assert (
        resolved().fingerprint == resolved(controls=None).fingerprint == resolved(limits={"signal": {"min_reliability": 0.5}}).fingerprint
    )
    assert resolved(controls={}).fingerprint != resolved().fingerprint


def test_an_audit_says_what_a_persona_is_worth() -> None:
    assert beside(evidence(), MARGIN) is None
    half = np.where(np.arange(len(MARGIN)) % 2, 0.9, 0.1)
    found = beside(evidence(generic=half), MARGIN)
    assert found
    assert found["label"]["value"] == 1.0
    assert found["generic"]["value"] == pytest.approx(1 - found["differs"]["value"])
    assert found["gain"]["value"] == pytest.approx(found["differs"]["value"])
    assert (found["label_where_they_differ"]["value"], found["generic_where_they_differ"]["value"]) == (1.0, 0.0)
    assert found["label_where_they_differ"]["of"] == round(found["differs"]["value"] * len(MARGIN))
