"""What the labels of a dataset say, against counts made in another way."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import statistics, tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.label import Preference


@pytest.fixture(scope="module")
def data(small: Path) -> statistics.Dataset:
    return statistics.load(Store(str(small)))


def test_baselines_are_what_counting_row_by_row_gives(data: statistics.Dataset) -> None:
    length = {row["candidate_id"]: len(row["text"]) for row in data.candidates.iter_rows(named=True)}
    games = [row for row in data.labels.iter_rows(named=True) if row["margin"] and length[row["candidate_a"]] != length[row["candidate_b"]]]
    longer = sum((row["margin"] > 0) == (length[row["candidate_a"]] > length[row["candidate_b"]]) for row in games)
    found = statistics.longer_wins(data)
    assert (found.value, found.of) == (pytest.approx(longer / len(games)), len(games))
    first = statistics.first_wins(data)
    assert first.value == pytest.approx((data.judgements["log_odds"] > 0).sum() / (data.judgements["log_odds"] != 0).sum())


def test_templates_agree_with_the_labels(data: statistics.Dataset) -> None:
    (row,) = statistics.templates(data).to_dicts()
    assert row["readings"] == data.judgements.height
    assert row["mean_bias"] == pytest.approx(data.labels["bias"].mean(), abs=1e-4)
    assert row["consistency"] == pytest.approx(data.labels["consistency"].mean(), abs=2e-3)
    pairs = statistics.both_orders(data)
    assert pairs.height == data.labels.height
    margin = pairs.join(data.labels, on=["persona_id", "comparison_id"]).select(
        ((pl.col("x") + pl.col("y")) / 2 - pl.col("margin")).abs().max()
    )
    assert margin.item() < 1e-4


def test_every_game_has_one_winner(data: statistics.Dataset) -> None:
    kinds = statistics.kinds_of_answer(data)
    assert kinds["kind"].n_unique() == 4
    rates = statistics.win_rates(data, kinds)
    assert rates["wins"].sum() * 2 == rates["games"].sum()
    assert statistics.kinds_of_answer(data, most=3)["kind"].n_unique() == 2, "too many kinds: models alone"


def test_reasons_and_winners_stand_with_the_labels(data: statistics.Dataset, small: Path) -> None:
    preferences = tables.read(Store(str(small)), "preferences/part-*.parquet", Preference)
    assert data.labels["reason"].null_count() == preferences.height
    kept = data.labels.filter(pl.col("reason").is_null()).join(preferences, on=["persona_id", "comparison_id"])
    assert (kept["winner"] == kept["chosen_id"]).all()


def test_of_many_labels_those_of_some_personas_are_held(data: statistics.Dataset, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data.of == data.labels.height
    monkeypatch.setattr(statistics, "MOST_LABELS", data.of // 3)
    some = statistics.load(Store(str(small)))
    people = sorted(data.labels["persona_id"].unique())[: some.labels["persona_id"].n_unique()]
    assert some.of == data.of
    assert 0 < some.labels.height <= data.of // 3
    assert some.labels.equals(data.labels.filter(pl.col("persona_id").is_in(people)))
    assert set(some.judgements["persona_id"]) == set(people)


def test_an_interval_holds_its_value_and_knows_prompts_from_labels() -> None:
    rng = np.random.default_rng(0)
    of = np.full(100, 50.0)
    whole_prompts = statistics.ratio(50.0 * (rng.random(100) < 0.5), of)
    single_labels = statistics.ratio(rng.binomial(50, 0.5, 100).astype(float), of)
    assert whole_prompts.low < 0.5 < whole_prompts.high
    assert whole_prompts.high - whole_prompts.low > 5 * (single_labels.high - single_labels.low)
    assert np.isnan(statistics.ratio(np.array([]), np.array([])).value)
