"""The pilot: quality, then spread, then a few readers whose calls are not paid twice; a newcomer moves nobody."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.embeddings import of_run
from prefloom.flows.dataset.run import Run
from prefloom.flows.diversity.grid import cosines, on_grid
from prefloom.flows.steps import freshness
from prefloom.flows.steps.forecast import forecast
from prefloom.flows.steps.judgements import NOBODY, Read, Reading
from prefloom.flows.steps.pilot import Answer, answers_of, circle, look
from prefloom.schemas.errors import InputError
from tests.flows.engines import small_embedder
from tests.helpers import make, resolved, run_stage, table

VIEWS = ["a numbered list of steps, formal", "flowing prose with examples and some humour", None]


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = small_embedder.make(tmp_path_factory.mktemp("small"))
    return {
        "models": {name: {"engine": "society", "character": name} for name in ("terse", "friendly")}
        | {"judge": {"engine": "society", "character": "good"}},
        "personas": [{"source": "grid", "count": 40}],
        "candidates": {"source": "models", "models": ["terse", "friendly"], "views": VIEWS},
        "embeddings": {"engine": "sentence-transformers", "model": str(model)},
        "pilot": {"keep": 3, "floor": -1.0, "personas": 6},
        "comparisons": {"per_prompt": 2, "per_persona_prompt": 2},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> Run:
    return run_stage(tmp_path_factory.mktemp("pilot"), "comparisons", **changes)


def refused(run: Run, reason: str) -> pl.DataFrame:
    rows = table(run, "rejected")
    return rows.filter((pl.col("stage") == "pilot") & (pl.col("reason") == reason))


def test_what_stays_are_all_pairs_of_a_few_answers(run: Run) -> None:
    pairs, answers = table(run, "pilot"), table(run, "candidates")
    gone = {*refused(run, "below_floor")["row_id"], *refused(run, "less_diverse")["row_id"]}
    wanted = set()
    for _, part in answers.group_by("prompt_id"):
        kept = sorted(set(part["candidate_id"]) - gone)
        assert 2 <= len(kept) <= 3
        wanted |= {*combinations(kept, 2)}
    assert {*pairs.select("first_id", "second_id").iter_rows()} == wanted
    assert pairs.equals(pairs.sort("prompt_id", "comparison_id"))
    assert refused(run, "below_floor").height > 3, "the floor is tested"
    assert refused(run, "less_diverse").height > 3, "keep is tested"


def test_distances_are_those_of_the_vectors(run: Run) -> None:
    ids, vectors = of_run(run.store, "candidates")
    grid = on_grid(vectors)
    for first, second, distance in table(run, "pilot").select("first_id", "second_id", "distance").iter_rows():
        expected = 1 - cosines(grid[[ids.index(first)]], grid[[ids.index(second)]])[0, 0]
        assert distance == pytest.approx(float(expected), abs=6e-5)


def test_readers_are_people_of_the_training_split_and_prompts_have_their_own(run: Run) -> None:
    splits = dict(table(run, "personas").select("persona_id", "split").iter_rows())
    pairs = table(run, "pilot")
    readers = {who for row in pairs["persona_ids"] for who in row}
    assert {splits[who] for who in readers} == {"train"}
    assert {len(row) for row in pairs["persona_ids"]} == {6}
    assert len(readers) > 12
    assert (pairs["disagreement"] >= 0).all()
    assert pairs["gap"].is_not_null().all()


def test_every_item_is_accounted_for(run: Run) -> None:
    entry = stages.entry(run.store, "pilot")
    assert entry
    meetings = sum(len(circle(n)) for n in table(run, "candidates").group_by("prompt_id").len()["len"])
    readings = 2 * meetings + 2 * int(table(run, "pilot")["persona_ids"].list.len().sum())
    assert entry.considered == table(run, "candidates").height + readings
    assert entry.usage["judge"].calls == readings
    assert entry.rejected == {f"check/{reason}": refused(run, reason).height for reason in ("below_floor", "less_diverse")}


def test_the_main_stage_finds_the_calls_in_the_journal(run: Run) -> None:
    comparisons, pairs = (table(run, name).explode("persona_ids") for name in ("comparisons", "pilot"))
    both = comparisons.join(pairs, on=["comparison_id", "persona_ids"], how="semi").height
    report, _ = make(run, "judgements")
    assert both > 20
    assert report.from_journal == 2 * both
    assert report.asked == 2 * (comparisons.height - both)


def test_chosen_are_pairs_of_the_pilot_and_say_what_it_found(run: Run) -> None:
    rows = table(run, "comparisons").join(table(run, "pilot"), on="comparison_id", suffix="_pilot")
    assert rows.height == table(run, "comparisons").height
    assert rows.group_by("prompt_id").len()["len"].max() == 2
    assert (rows["disagreement"] == rows["disagreement_pilot"]).all()
    assert (rows["dominated"] == (rows["gap"].abs() >= 2.0)).all()
    assert rows["inclusion"].is_between(0, 1, closed="right").all()
    worth = pl.col("distance") * pl.col("disagreement")
    assert rows.select(worth.mean()).item() > 1.1 * table(run, "pilot").select(worth.mean()).item(), "what divides people comes first"


def pilot_and_choice(run: Run) -> pl.DataFrame:
    choice = table(run, "comparisons").select("comparison_id", "inclusion", "persona_ids")
    return table(run, "pilot").join(choice, on="comparison_id", how="left", suffix="_asked").sort("comparison_id")


def test_a_new_prompt_moves_nobody(run: Run, tmp_path: Path, changes: dict[str, Any]) -> None:
    grown = run_stage(tmp_path, "comparisons", **changes, prompts=[{"source": "seeds", "count": 13}], shards={"prompts": 3, "personas": 2})
    before = pilot_and_choice(run)
    after = pilot_and_choice(grown).join(before.select("prompt_id").unique(), on="prompt_id", how="semi")
    assert table(grown, "pilot")["prompt_id"].n_unique() == 13
    assert after.equals(before)


def test_new_people_replace_few_readers(run: Run, tmp_path: Path, changes: dict[str, Any]) -> None:
    grown = run_stage(tmp_path, "pilot", **changes | {"personas": [{"source": "grid", "count": 44}]})
    before, after = (dict(table(one, "pilot").select("prompt_id", "persona_ids").iter_rows()) for one in (run, grown))
    same = [len({*before[prompt]} & {*after[prompt]}) / 6 for prompt in before]
    assert 0.75 < float(np.mean(same)) < 1


def test_a_plan_foresees_the_calls(run: Run, tmp_path: Path, changes: dict[str, Any]) -> None:
    free = Run.create(tmp_path, resolved(**changes | {"pilot": {"keep": 4, "personas": 6}}))
    found = {stage.name: stage for stage in forecast(free, freshness.materials(free)).stages}
    assert not list(tmp_path.rglob("*.parquet"))
    real = run_stage(tmp_path, "pilot", **changes | {"pilot": {"keep": 4, "personas": 6}})
    entry = stages.entry(real.store, "pilot")
    assert entry
    assert found["pilot"].exact
    assert found["pilot"].rows == table(real, "pilot").height
    assert found["pilot"].usage["judge"].calls == found["pilot"].left["judge"].calls == entry.usage["judge"].calls
    assert found["pilot"].usage["judge"].prompt_tokens == pytest.approx(entry.usage["judge"].prompt_tokens, rel=0.03)
    report, _ = make_rest(real)
    assert found["judgements"].left["judge"].calls == pytest.approx(report.asked, rel=0.05)
    floored = Run.create(tmp_path, resolved(**changes))
    upper = {stage.name: stage for stage in forecast(floored, freshness.materials(floored)).stages}["pilot"]
    assert not upper.exact
    known = stages.entry(run.store, "pilot")
    assert known
    assert upper.usage["judge"].calls >= known.usage["judge"].calls


def make_rest(run: Run) -> Any:
    make(run, "comparisons")
    return make(run, "judgements")


def test_without_readers_and_quality_nobody_is_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = run_stage(tmp_path, "comparisons", **changes | {"pilot": {"keep": 3, "personas": 0, "dominated": None}})
    entry = stages.entry(run.store, "pilot")
    assert entry
    assert (entry.usage, entry.considered) == ({}, table(run, "candidates").height)
    assert not run.store.exists("journal")
    rows = table(run, "comparisons")
    assert rows["dominated"].is_null().all()
    assert rows["disagreement"].is_null().all()
    assert rows.join(table(run, "pilot"), on="comparison_id")["distance"].mean() > table(run, "pilot")["distance"].mean()  # type: ignore[operator]


# One prompt, by hand: what is asked and what is made of it.

RECIPE = resolved(
    embeddings={"engine": "sentence-transformers"},
    pilot={"keep": 2, "floor": 0.5, "personas": 2},
    candidates={"source": "models", "models": ["terse"], "samples": 4},
).recipe
PROMPT = "00000000000000aa"
NAMES = [f"{place:016x}" for place in range(1, 5)]
WORTH = dict(zip(NAMES, [2.0, -1.0, -3.0, 1.0], strict=True))
PEOPLE = [f"{place:016x}" for place in range(100, 103)]


def tasting(plan: Sequence[Reading]) -> list[Read]:
    """Everybody likes what is good, and what is shown first."""
    return [(WORTH[shown.first_id] - WORTH[shown.second_id] + 0.5, 1.0) for shown, _, _ in plan]


def answers() -> dict[str, list[Answer]]:
    return {PROMPT: [Answer(name, "terse", None, place) for place, name in enumerate(NAMES)]}


GRID = on_grid(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0.1, 0]]))


def test_the_best_two_stay_whatever_the_floor() -> None:
    pairs, rejected = look(RECIPE, answers(), GRID, PEOPLE, tasting)
    assert [(row.reason, row.row_id) for row in rejected] == [("below_floor", NAMES[1]), ("below_floor", NAMES[2])]
    assert rejected[0].detail == "general quality -0.7500 in log-odds, floor 0.5"
    strict = RECIPE.model_copy(update={"pilot": RECIPE.pilot and RECIPE.pilot.model_copy(update={"floor": 50.0})})
    assert look(strict, answers(), GRID, PEOPLE, tasting)[0] == pairs
    (pair,) = pairs
    assert (pair.first_id, pair.second_id, pair.gap) == (NAMES[0], NAMES[3], 1.0)
    assert (pair.margins, pair.biases) == ([1.0, 1.0], [0.5, 0.5])


def test_the_best_stays_and_the_one_farthest_from_it() -> None:
    far = RECIPE.model_copy(update={"pilot": RECIPE.pilot and RECIPE.pilot.model_copy(update={"floor": None})})
    pairs, rejected = look(far, answers(), GRID, PEOPLE, tasting)
    assert NAMES[0] in (pairs[0].first_id, pairs[0].second_id)
    assert NAMES[3] not in (pairs[0].first_id, pairs[0].second_id), "it is nearly the same"
    assert {row.reason for row in rejected} == {"less_diverse"}
    assert [row.detail for row in rejected if row.row_id == NAMES[3]] == [f"cosine 0.9950 with {NAMES[0]}, which stays"]


def test_who_could_not_be_read_in_both_orders_is_left_out() -> None:
    lost = PEOPLE[0]

    def ask(plan: Sequence[Reading]) -> list[Read]:
        said = tasting(plan)
        return ["off_menu" if who == lost and shown.order == "ba" else read for (shown, _, who), read in zip(plan, said, strict=True)]

    everybody = RECIPE.model_copy(update={"pilot": RECIPE.pilot and RECIPE.pilot.model_copy(update={"personas": 3})})
    (pair,), _ = look(everybody, answers(), GRID, PEOPLE, ask)
    assert pair.persona_ids == PEOPLE[1:]
    assert len(pair.margins) == 2


def test_where_nobody_can_be_read_the_pilot_says_nothing() -> None:
    pairs, rejected = look(RECIPE, answers(), GRID, PEOPLE, lambda plan: ["off_menu"] * len(plan))
    assert [row.reason for row in rejected] == ["below_floor"] * 2, "of equals the first two by id stay"
    assert [(pair.disagreement, pair.margins, pair.persona_ids) for pair in pairs] == [(None, [], [])]


def test_nobody_is_told_of_in_general_readings() -> None:
    asked: list[Reading] = []

    def ask(plan: Sequence[Reading]) -> list[Read]:
        asked.extend(plan)
        return tasting(plan)

    look(RECIPE, answers(), GRID, PEOPLE, ask)
    assert {(template, who == NOBODY) for _, template, who in asked} == {("judge/generic", True), ("judge/pairwise", False)}
    assert len({(shown.comparison_id, shown.order) for shown, _, who in asked if who == NOBODY}) == 2 * len(circle(4)) == 12


def test_in_a_circle_everybody_meets_four() -> None:
    assert [len(circle(n)) for n in (0, 1, 2, 3, 4, 5, 6, 12)] == [0, 0, 1, 3, 6, 10, 12, 24]
    meets = np.bincount(np.array(circle(12)).ravel())
    assert set(meets.tolist()) == {4}


def test_one_answer_and_none_are_no_pairs() -> None:
    few = {PROMPT: answers()[PROMPT][:1]}
    assert look(RECIPE, few, GRID, PEOPLE, tasting) == ([], [])
    assert answers_of(pl.DataFrame(schema=["prompt_id", "candidate_id", "model", "view"]), []) == {}


def test_a_pilot_needs_vectors(changes: dict[str, Any]) -> None:
    with pytest.raises((InputError, ValueError), match="add embeddings"):
        resolved(**changes | {"embeddings": None})
