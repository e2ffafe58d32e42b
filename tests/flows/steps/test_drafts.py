"""Rounds of answers: a prompt goes on until its readers disagree within the bounds, alone, and nothing is paid twice or lost."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from prefloom.flows.dataset import manifest, stages, tables
from prefloom.flows.dataset.heterogeneity_pairs import disagreement
from prefloom.flows.dataset.invariants_agreement import drafts as sound
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.validate import RECORDS, validate
from prefloom.flows.report.page import render
from prefloom.flows.steps import freshness
from prefloom.flows.steps.drafts import disagreement_of, draft_answers
from prefloom.flows.steps.forecast import forecast
from prefloom.schemas.agreement import Agreement
from prefloom.schemas.errors import InputError
from prefloom.schemas.label import Rejected
from tests.helpers import resolved, run_stage, table

CHANGES: dict[str, Any] = {
    "models": {name: {"engine": "society", "character": name} for name in ("terse", "good")},
    "personas": [{"source": "society", "count": 24, "preset": "personalllm-like"}],
    "prompts": [{"source": "seeds", "count": 8}],
    "candidates": {"source": "models", "models": ["terse"], "samples": 4},
    "judgements": {"model": "good"},
    "agreement": {"low": 0.45, "readers": 6, "pairs": 2, "rounds": 2},
    "comparisons": {"per_prompt": 2, "per_persona_prompt": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = run_stage(tmp_path_factory.mktemp("drafts"), "exports", **CHANGES)
    composed = freshness.composed(made, freshness.materials(made))
    assert composed
    made.store.create(stages.MANIFEST, composed)
    return made


def tables_of(run: Run) -> dict[str, pl.DataFrame]:
    return {name: tables.read(run.store, f"{name}/*.parquet", record) for name, record in RECORDS.items() if name != "exports"}


def test_rounds_end_inside_the_bounds_or_when_none_is_left(run: Run) -> None:
    rows = table(run, "drafts")
    assert set(rows["action"]) == {"kept", "regenerated", "gave_up"}
    for _, part in rows.sort("round").group_by("prompt_id"):
        assert part["round"].to_list() == list(range(part.height))
        assert part["action"].to_list()[:-1] == ["regenerated"] * (part.height - 1)
        apart = part["disagreement"].to_list()
        assert all(value < 0.45 for value in apart[:-1])
        assert (apart[-1] >= 0.45) == (part["action"].to_list()[-1] == "kept")
        assert part.filter("stays")["disagreement"].to_list() == [max(apart) if apart[-1] < 0.45 else apart[-1]]
    assert rows["disagreement"].n_unique() > 4


def test_the_dataset_has_the_round_that_stays_and_the_others_are_not_lost(run: Run) -> None:
    stays, answers = table(run, "drafts").filter("stays"), table(run, "candidates")
    assert sorted(answers["candidate_id"]) == sorted(stays["candidate_ids"].explode())
    seeds = answers.join(stays.select("prompt_id", "round"), on="prompt_id")
    assert (seeds["seed"] == 1000 * seeds["round"] + seeds["sample"]).all()
    assert seeds["round"].max() > 0
    gone = tables.read(run.store, "rejected/drafts-*.parquet", Rejected)
    assert gone.filter(pl.col("reason") == "regenerated").height > 10
    assert gone["row"].is_not_null().all()
    assert gone.height == table(run, "drafts").filter(~pl.col("stays"))["answers"].sum()


def test_nothing_is_paid_twice(run: Run) -> None:
    """What candidates and judgements ask again is in the journal, and equal readings of two rounds are one."""
    journal = run.journal(freshness.materials(run).models["terse"])
    asked = stages.entry(run.store, "drafts")
    assert asked
    assert asked.usage["terse"].calls == table(run, "drafts")["answers"].sum()
    held = journal.load(table(run, "prompts")["prompt_id"].to_list())
    assert len(held) == asked.usage["terse"].calls
    judge = run.journal(freshness.materials(run).models["good"]).load(table(run, "prompts")["prompt_id"].to_list())
    columns = ["first_ids", "second_ids", "persona_ids"]
    read = {*table(run, "drafts").select(columns).explode(columns).iter_rows()}
    judged = {*table(run, "comparisons").select("first_id", "second_id", "persona_ids").explode("persona_ids").iter_rows()}
    assert len(judge) == 2 * len(read | judged)
    assert len(read & judged) > 40, "readers are asked about the same pairs again"


def test_shards_change_no_round(run: Run, tmp_path: Path) -> None:
    other = run_stage(tmp_path, "candidates", **CHANGES, shards={"prompts": 1, "personas": 1})
    for name in ("drafts", "candidates"):
        assert table(other, name).equals(table(run, name)), name


def test_without_rounds_the_answers_are_those_of_a_recipe_without_the_section(run: Run, tmp_path: Path) -> None:
    plain = run_stage(tmp_path, "candidates", **{name: value for name, value in CHANGES.items() if name != "agreement"})
    measured = run_stage(tmp_path, "candidates", **CHANGES | {"agreement": CHANGES["agreement"] | {"rounds": 0}})
    assert table(measured, "candidates").equals(table(plain, "candidates"))
    first = table(run, "drafts").filter(pl.col("round") == 0)
    assert table(measured, "drafts").drop("action", "stays").equals(first.drop("action", "stays"))


def test_readers_are_of_the_training_split(run: Run) -> None:
    splits = dict(table(run, "personas").select("persona_id", "split").iter_rows())
    who = table(run, "drafts")["persona_ids"]
    assert {splits[name] for name in who.explode()} == {"train"}
    assert set(who.list.n_unique()) == {6}


def test_models_that_share_a_gpu_are_asked_one_after_another(run: Run, tmp_path: Path) -> None:
    """As the flow does it: each model in each round, then all from the journal."""
    turns = run_stage(tmp_path, "prompts", **CHANGES)
    asked = []
    for name in ["terse", "good"] * 3:
        report = draft_answers(ShardJob(str(turns.folder), "drafts", 0, "", only=name))
        asked.append((name, report.asked, set(report.paid)))
        turns.journal(freshness.materials(turns).models[name]).seal()
    assert [paid for *_, paid in asked] == [{"terse"}, {"good"}] * 3
    last = draft_answers(ShardJob(str(turns.folder), "drafts", 0, "x"))
    assert last.asked == 0
    assert sum(count for _, count, _ in asked) == sum(usage.calls for usage in last.usage.values())
    mine = table(turns, "drafts")
    assert mine.equals(table(run, "drafts").filter(pl.col("prompt_id").is_in(mine["prompt_id"].implode())))


def test_a_sound_dataset_is_valid_and_a_changed_one_is_not(run: Run) -> None:
    assert {check.name: check.problems for check in validate(run.store) if check.problems} == {}
    recipe = manifest.recipe_of(run.store, manifest.load(run.store))
    data = tables_of(run)
    rows = data["drafts"]
    other = pl.when(pl.col("round") == 0)
    for changed, words in {
        "disagreement that does not follow": rows.with_columns(other.then(0.4321).otherwise("disagreement").alias("disagreement")),
        "strength that does not follow": rows.with_columns(pl.col("strength") + 1),
        "no round that stays": rows.with_columns(~pl.col("stays")),
        "has the rounds": rows.with_columns(pl.col("round") + 1),
        "has the actions": rows.with_columns(pl.lit("kept").alias("action")),
        "readers, pairs or margins": rows.with_columns(pl.col("margins").list.head(1)),
        "not those of the rounds that stay": rows.with_columns(pl.col("candidate_ids").list.head(1)),
    }.items():
        assert any(changed in problem for problem in sound(data | {"drafts": words}, recipe).problems), changed
    test = data["personas"].with_columns(pl.lit("test").alias("split"))
    assert "a reader is not of the training split" in sound(data | {"personas": test}, recipe).problems
    fewer = data["rejected"].filter(pl.col("reason") != "regenerated")
    assert len(sound(data | {"rejected": fewer}, recipe).problems) == 2


def test_a_forecast_is_an_upper_bound_and_true_afterwards(run: Run, tmp_path: Path) -> None:
    before = run_stage(tmp_path, "personas", **CHANGES)
    planned = {stage.name: stage for stage in forecast(before, freshness.materials(before)).stages}
    entry = stages.entry(run.store, "drafts")
    assert entry
    assert planned["drafts"].rows == 3 * table(run, "prompts").height
    for name, used in entry.usage.items():
        assert used.calls < planned["drafts"].usage[name].calls == planned["drafts"].left[name].calls
    assert not sum(used.calls for used in planned["candidates"].left.values())
    after = {stage.name: stage for stage in forecast(run, freshness.materials(run)).stages}
    assert after["drafts"].usage == entry.usage


def test_disagreement_is_the_mean_over_every_two_readers() -> None:
    margins = np.array([[1.0, 2.0, -1.0], [0.5, -2.0, -1.0], [-3.0, 0.1, 0.0]])
    read = [(f"pair{c}", f"reader{r}", float(margins[r, c])) for r in range(3) for c in range(3)]
    assert disagreement_of(read) == round(disagreement(margins), 4) == round((1 / 3 + 1 / 2 + 1) / 3, 4)
    assert disagreement_of([]) is None
    assert disagreement_of(read[:3]) is None, "one reader"
    assert disagreement_of([read[0], read[4]]) is None, "nothing shared"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agreement": {"low": 0.5, "high": 0.4}}, "low 0.5 is not below high 0.4"),
        ({"agreement": {"high": 0.8}}, "12 readers who split evenly disagree by 0.5455"),
        ({"agreement": {"low": 0.61, "readers": 5}}, "5 readers who split evenly disagree by 0.6000"),
        ({"agreement": {"readers": 1}}, "greater than or equal to 2"),
        ({"agreement": {"users": {"low": 0.9}}}, "low 0.9 is not below high 0.8"),
        ({"candidates": CHANGES["candidates"] | {"temperature": 0}}, "temperature 0 gives the same"),
        ({"candidates": {"source": "file", "path": "x.jsonl", "fields": {"prompt": "p"}}}, "has no others"),
    ],
)
def test_bounds_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        resolved(**CHANGES | changes)


def test_nobody_to_disagree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 persona in the training split"):
        run_stage(tmp_path, "drafts", **CHANGES | {"personas": [{"source": "society", "count": 1}]})


def test_a_round_is_as_far_off_as_its_nearest_bound() -> None:
    bounds = Agreement(low=0.2, high=0.5)
    assert [bounds.off(value) for value in (0.1, 0.2, 0.5, 0.54, None)] == [0.1, 0.0, 0.0, 0.04, 2.0]


def test_the_report_shows_the_rounds(run: Run) -> None:
    page = render(run.store)
    assert "Bounds on disagreement" in page
    assert f"{table(run, 'drafts').filter('stays').height} prompts are still outside" in page
