"""Rounds of answers beside what else there is: calls that fail and are asked again, near-duplicates, a pilot."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows import engines
from prefloom.flows.dataset import stages
from prefloom.flows.dataset.invariants_agreement import drafts as sound
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.engines import asking
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.flows.steps import drafts, freshness
from prefloom.flows.steps.forecast import forecast
from tests.flows.engines import small_embedder
from tests.flows.steps.test_drafts import CHANGES
from tests.helpers import make, run_stage, table

ONE_SHARD = CHANGES | {"shards": {"prompts": 1, "personas": 1}}


class Flaky:
    """A member of the society, one in seven of whose replies is lost while there is trouble."""

    trouble = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.identity, self.free, self.in_flight, self.votes = engine.identity, True, 512, 0

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        for batch in self._engine.answer(requests, stop):
            lost = [self.trouble and int(requests[place].key("")[:8], 16) % 7 == 0 for place, _ in batch]
            yield [(place, Reply(error="HTTP 503") if gone else reply) for (place, reply), gone in zip(batch, lost, strict=True)]


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    monkeypatch.setattr(Flaky, "trouble", True)
    for module in (asking, drafts):
        monkeypatch.setattr(module, "open_engine", lambda run, name: Flaky(engines.open_engine(run, name)))
    return Flaky


def tables_of(run: Run) -> dict[str, pl.DataFrame]:
    names = ("drafts", "candidates", "rejected", "prompts", "personas", "judgements")
    return {name: table(run, name) for name in names}


def test_failures_are_accounted_for_and_mended(tmp_path: Path, flaky: type[Flaky]) -> None:
    run = run_stage(tmp_path / "one", "candidates", **ONE_SHARD)
    entry = stages.entry(run.store, "drafts")
    assert entry
    assert entry.closed
    assert entry.failures() > 10
    lost = table(run, "rejected").filter((pl.col("stage") == "drafts") & (pl.col("kind") == "failure"))
    assert {"answer", "reading"} == {"answer" if row else "reading" for row in lost["row"]}
    make(run, "comparisons")
    make(run, "judgements")
    assert sound(tables_of(run), run.resolved.recipe).problems == []

    flaky.trouble = False
    report = drafts.draft_answers(ShardJob(str(run.folder), "drafts", 0, "again", retry_failed=True))
    assert not [reason for reason in report.rejected if reason.startswith("failure")]
    clean = run_stage(tmp_path / "other", "drafts", **ONE_SHARD)
    assert table(run, "drafts").equals(table(clean, "drafts"))
    assert 0 < report.asked < sum(used.calls for used in report.usage.values())


def test_near_duplicates_and_a_pilot_go_with_it(tmp_path: Path) -> None:
    vectors = {"engine": "sentence-transformers", "model": str(small_embedder.make(tmp_path))}
    diversity = {"personas": None, "prompts": None, "candidates": {"near_duplicate": 0.9}}
    given = ONE_SHARD | {
        "prompts": [{"source": "seeds", "count": 3}],
        "embeddings": vectors,
        "diversity": diversity,
        "pilot": {"personas": 4},
    }
    run = run_stage(tmp_path, "judgements", **given)
    rejected = table(run, "rejected").filter(pl.col("reason") == "near_duplicate")
    assert rejected.filter(pl.col("stage") == "candidates").height, "of answers that stay"
    assert sound(tables_of(run), run.resolved.recipe).problems == []
    assert {*table(run, "pilot")["first_id"]} <= {*table(run, "drafts").filter("stays")["candidate_ids"].explode()}
    planned = forecast(run, freshness.materials(run)).stages
    assert [stage.name for stage in planned[:5]] == ["personas", "prompts", "drafts", "candidates", "embeddings"]
