"""Whole builds against a server that misbehaves: they end, every row is accounted for, and what was answered is as it always is."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.engines.endpoint import pool
from tests.breaking import command
from tests.kitchen import Kitchen
from tests.stand_in import StandIn


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_FIRST", 0.02)


@pytest.fixture
def own(stand_in_server: StandIn) -> Iterator[StandIn]:
    yield stand_in_server
    stand_in_server.set()


def tables(run: Path) -> dict[str, bytes]:
    """Every file of the dataset but its report."""
    return {str(path.relative_to(run)): path.read_bytes() for path in [*run.rglob("*.parquet"), run / "manifest.json"]}


def read(run: Path, pattern: str) -> pl.DataFrame:
    return pl.read_parquet(f"{run}/{pattern}")


STORM = {"500": 0.06, "drop": 0.05, "drop-body": 0.04, "torn": 0.06, "stall": 0.02, "html": 0.05, "other-model": 0.06}
UNREADABLE = {"nan": 0.08, "null-logprobs": 0.06, "missing-logprobs": 0.06}


def test_a_storm_that_heals_leaves_no_trace(own: StandIn, tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path, own, writes=True)
    clean = tables(kitchen.built(out="clean"))
    own.set(shares=STORM | UNREADABLE | {"429": 0.05, "429-absurd": 0.02}, bound=2, stall=1.5)
    assert tables(kitchen.built()) == clean
    dealt = own.stats()["faults"]
    assert len(dealt) >= 8, dealt


def test_a_storm_that_does_not_heal_costs_the_rows_it_hit(own: StandIn, tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path, own, poisoned=True)
    calm = kitchen.built(out="clean")
    clean, whole = tables(calm), read(calm, "judgements/*.parquet")
    (poisoned,) = read(calm, "rejected/judgements-*.parquet")["persona_id"].unique()
    assert poisoned not in set(whole["persona_id"])
    own.set(shares={name: 1.2 * share for name, share in (STORM | UNREADABLE).items()}, stall=1.5)
    run = kitchen.built()
    counted = own.stats()
    assert counted["requests"] <= 3 * (len(whole) + 24) + 6 * 6, "three attempts, and the probe's"
    judgements, rejected = read(run, "judgements/*.parquet"), read(run, "rejected/judgements-*.parquet")
    assert len(judgements) + len(rejected) == len(whole) + sum(rejected["persona_id"] == poisoned)
    assert len(judgements.join(whole, on=whole.columns, how="semi")) == len(judgements), "what was answered is as in calm weather"
    hit = rejected.filter(pl.col("persona_id") != poisoned)
    assert 5 < len(hit) < len(whole)
    assert set(rejected["kind"]) == {"failure"}
    assert set(rejected["reason"]) == {"error"}
    assert all(detail.endswith("(tried 3 times)") for detail in hit["detail"]), hit["detail"].to_list()
    assert all("HTTP 400: This request cannot be processed." in d for d in rejected.filter(pl.col("persona_id") == poisoned)["detail"])
    own.set()
    assert kitchen.build(), "without --retry-failed it stands as it is"
    assert own.stats()["requests"] == 0
    assert tables(kitchen.built("--retry-failed")) == clean
    asked = own.stats()
    assert asked["answered"] - asked["calls"]["repeated"] >= len(hit)
    assert asked["requests"] <= len(rejected) + 15, "what failed, and a probe"


def test_a_server_without_log_probabilities_is_read_by_votes_and_that_is_said(own: StandIn, tmp_path: Path) -> None:
    own.set(reads="none", vllm=False)
    kitchen = Kitchen(tmp_path, own)
    ended = kitchen.build()
    assert ended.code == 0, ended.err
    assert "letters by votes" in ended.out + ended.err
    run = kitchen.run()
    assert command("validate", str(run)).code == 0
    assert json.loads((run / "models" / "judge.json").read_text())["read"] == "votes"
    assert json.loads((run / "manifest.json").read_text())["probes"]["judge"]["read"] == "votes"
    odds = set(read(run, "judgements/*.parquet")["log_odds"].to_list())
    assert len(odds) <= 20, "five votes give few values"
    counted = own.stats()
    assert counted["calls"]["repeated"] <= 6, "of the probe"
