"""Judgements come from rendered messages alone (DESIGN: an engine sees rendered messages only), and are read without guessing."""

import hashlib
import itertools
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.validate import RECORDS
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.steps.judgements import judge_comparisons, read_letters
from prefloom.flows.steps.labels import label, mean_bias
from tests.helpers import run_stage, table

SHARDS: dict[str, Any] = {"shards": {"prompts": 1, "personas": 1}}


def rewrite(run: Run, name: str, frame: pl.DataFrame) -> None:
    tables.write(run.store, f"{name}/part-00000.parquet", RECORDS[name], frame)


def judge(run: Run) -> pl.DataFrame:
    """Judgements of the tables as they now are, with the columns that say what was judged, not by which id."""
    for name in run.store.list("judgements/*"):
        run.store.remove(name)
    judge_comparisons(ShardJob(str(run.folder), "judgements", 0, "x"))
    return table(run, "judgements")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_stage(tmp_path, "comparisons", **SHARDS)


def other(identifier: str) -> str:
    return hashlib.blake2b(f"renamed {identifier}".encode(), digest_size=8).hexdigest()


def test_renaming_every_id_changes_no_answer(run: Run) -> None:
    before = judge(run)
    ids = {"persona_id", "prompt_id", "candidate_id", "comparison_id", "first_id", "second_id"}
    for name in ("personas", "prompts", "candidates", "comparisons"):
        frame = table(run, name)
        frame = frame.with_columns(pl.col(c).map_elements(other, pl.String) for c in frame.columns if c in ids)
        if name == "comparisons":
            frame = frame.with_columns(pl.col("persona_ids").list.eval(pl.element().map_elements(other, pl.String)))
        rewrite(run, name, frame)
    after = judge(run)
    expected = before.with_columns(pl.col(c).map_elements(other, pl.String) for c in ("persona_id", "prompt_id", "comparison_id"))
    order = ["comparison_id", "persona_id", "order"]
    assert before.height > 200
    assert after.sort(order).equals(expected.sort(order))


def test_dropping_the_trait_columns_changes_no_answer(run: Run) -> None:
    before = judge(run)
    frame = table(run, "personas")
    blank = frame.with_columns(pl.col("traits").list.head(0), pl.lit("").alias("source"), pl.lit(None, pl.String).alias("source_id"))
    assert not blank.equals(frame)
    rewrite(run, "personas", blank)
    prompts = table(run, "prompts")
    rewrite(run, "prompts", prompts.with_columns(pl.lit("").alias("domain")))
    candidates = table(run, "candidates")
    rewrite(run, "candidates", candidates.with_columns(pl.lit("m").alias("model"), pl.lit(None, pl.String).alias("view")))
    assert judge(run).equals(before)


def test_exchanging_two_descriptions_exchanges_their_labels(tmp_path: Path) -> None:
    run = run_stage(
        tmp_path, "comparisons", **SHARDS, comparisons={"per_prompt": 3, "per_persona_prompt": 3}, splits={"validation": 0.0, "test": 0.0}
    )
    frame = table(run, "personas")
    one, two = frame["persona_id"][0], frame["persona_id"][1]
    before = label(judge(run), mean_bias(run.store))
    first, second = frame["description"][0], frame["description"][1]
    swapped = [second, first, *frame["description"].to_list()[2:]]
    rewrite(run, "personas", frame.with_columns(pl.Series("description", swapped)))
    after = label(judge(run), mean_bias(run.store))

    def labels_of(labels: pl.DataFrame, persona: str) -> pl.DataFrame:
        return labels.filter(pl.col("persona_id") == persona).drop("persona_id").sort("comparison_id")

    assert labels_of(after, one).equals(labels_of(before, two))
    assert labels_of(after, two).equals(labels_of(before, one))
    assert not labels_of(after, one).equals(labels_of(before, one))
    rest = ~pl.col("persona_id").is_in([one, two])
    key = ["persona_id", "comparison_id"]
    assert after.filter(rest).sort(key).equals(before.filter(rest).sort(key))


def test_the_judge_is_asked_pair_first_persona_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefloom.flows.engines.society import Society

    seen: list[str] = []
    replies = Society._replies

    def spy(self: Society, requests: Any) -> list[Reply]:
        seen.extend(request.messages[-1][1] for request in requests)
        return replies(self, requests)

    monkeypatch.setattr(Society, "_replies", spy)
    judge(run)
    heads = [message[: message.index("The person:")] for message in seen]
    groups = sum(before != after for before, after in itertools.pairwise(heads)) + 1
    assert groups == len(set(heads)), "each (comparison, order) is asked in one run"
    assert len(set(heads)) == 2 * table(run, "comparisons").filter(pl.col("persona_ids").list.len() > 0).height


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("A", logprobs={"A": -0.1, "B": -2.5}), (2.4, round(math.exp(-0.1) + math.exp(-2.5), 4))),
        (Reply("A", logprobs={"A": -9.0, "B": -12.0}), (3.0, 0.0001)),
        (Reply("I think A.", logprobs=None), "off_menu"),
        (Reply("C", logprobs={"C": -0.1, "A": -3.0}), "off_menu"),
        (Reply("A", logprobs={"A": -0.1}), "no_logprobs"),
        (Reply("A", logprobs={"A": -0.1, "B": float("-inf")}), "no_logprobs"),
        (Reply("A", logprobs={"A": float("nan"), "B": -1.0}), "no_logprobs"),
        (Reply(None, error="HTTP 400"), "error"),
        (Reply(None), "off_menu"),
    ],
)
def test_a_reply_is_read_or_refused_never_guessed(reply: Reply, expected: object) -> None:
    assert read_letters(reply) == expected


def test_failures_become_rejected_rows(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "judgements", personas=[{"source": "grid", "count": 80}])
    entry = stages.entry(run.store, "judgements")
    assert entry
    rejected = table(run, "rejected").filter(pl.col("stage") == "judgements")
    assert entry.failures() == rejected.height > 0
    assert set(rejected["reason"]) == {"off_menu"}
    assert all(detail.endswith((": I wo", ": Both")) for detail in rejected["detail"]), "a reply of one token is cut after one token"
