"""The shuffle from prompt shards to persona shards: how the rows are cut changes nothing that they say."""

from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset import confidence, evidence, shuffle, signal, stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, merge
from prefloom.flows.steps.labels import aggregate_labels
from tests.helpers import run_stage, table

SMALL: dict[str, Any] = {
    "personas": [{"source": "grid", "count": 12}],
    "prompts": [{"source": "seeds", "count": 7}],
    "judgements": {"model": "judge", "templates": ["judge/pairwise", "judge/reader"]},
    "controls": {"generic": True, "repeats": 0.3, "shuffled": 0.3},
    "checks": {"labels": {"coverage": 0.6}},
}


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The same dataset in one piece and in many; so small that the habits would be fitted on every label, were it not for MOST."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(confidence, "MOST", 30)
        shards = ({"prompts": 1, "personas": 1}, {"prompts": 5, "personas": 3})
        return [run_stage(tmp_path_factory.mktemp("cut"), "preferences", **SMALL, shards=each) for each in shards]


@pytest.mark.parametrize("name", ["labels", "preferences"])
def test_labels_are_the_same_in_one_piece_and_in_many(cut: list[Run], name: str) -> None:
    one, many = (table(run, name).sort("persona_id", "comparison_id") for run in cut)
    assert one.height > 10
    assert one["confidence"].n_unique() > 10
    assert one.equals(many)


def test_what_is_personal_is_the_same_in_one_piece_and_in_many(cut: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_PERSONAS", 9)
    one, many = (signal.report(signal.measure(evidence.load(run.store))) for run in cut)
    assert one == many
    assert (one["personas"], one["of"]) == (9, table(cut[0], "labels").height)
    assert one["shuffled"] > 0
    assert one["repeats"] > 0


def test_scratch_is_used_again_after_a_kill_and_gone_at_the_end(cut: list[Run]) -> None:
    run, stage = cut[1], stages.BY_NAME["labels"]
    done = stages.entry(run.store, "labels")
    assert done
    assert not run.store.list("labels/*.arrow")
    before = {file.path: file.sha256 for file in done.files}
    for name in before:
        run.store.remove(name)
    job = ShardJob(str(run.folder), "labels", 0, done.hash)
    aggregate_labels(job)  # and killed
    scratch = run.store.list("labels/*.arrow")
    assert len(scratch) == 5
    left, torn = run.store.read(scratch[0]), run.store.read(scratch[1])
    run.store.publish(scratch[1], lambda file: file.write(torn[:-9]))
    shuffle.write(run.store, scratch[2], pl.DataFrame({"a": [1]}), pl.Series([0]), 3, "another hash")
    reports = [aggregate_labels(job.at(index)) for index in range(3)]
    assert run.store.read(scratch[0]) == left
    assert run.store.read(scratch[1]) == torn
    assert {file.path: file.sha256 for file in stages.finish(run, stage, done.hash, merge(reports)).files} == before
    assert not run.store.list("labels/*.arrow")
