"""Scores: from a wide file with its answers, from models through the journal, and recipes of users that resolve."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import rewards as engines
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.steps import scores
from prefloom.flows.steps.forecast import forecast, report
from prefloom.flows.steps.freshness import materials, probe_inputs
from prefloom.schemas.errors import InputError
from tests.helpers import make, run_stage, table

MODELS = ("gemma_2b", "oasst")


def wide(tmp_path: Path, name: str = "wide.parquet", **changes: Any) -> dict[str, Any]:
    """The published table in small: three answers to each of eight prompts, scored by two reward models."""
    rows: list[dict[str, Any]] = []
    for p in range(8):
        row: dict[str, Any] = {"prompt": f"Question {p}?", "prompt_id": p}
        for i in (1, 2, 3):
            row |= {f"response_{i}": f"Answer {i} to {p}.", f"response_{i}_model": f"model {i}"}
            row |= {f"response_{i}_{rm}": float(10 * p + i * (1 + k)) for k, rm in enumerate(MODELS)}
        rows.append(row)
    pl.DataFrame(rows).write_parquet(tmp_path / name)
    path = str(tmp_path / name)
    answers = {"prompt": "prompt", "text": "response_{i}", "model": "response_{i}_model", "wide": 3}
    return {
        "personas": [{"source": "ensemble", "count": 5, "alpha": 0.5}],
        "prompts": [{"source": "file", "path": path, "fields": {"text": "prompt", "id": "prompt_id"}}],
        "candidates": {"source": "file", "path": path, "fields": answers},
        "rewards": {rm: {"engine": "file", "path": path, "fields": answers | {"score": f"response_{{i}}_{rm}"}} for rm in MODELS},
        "judgements": {},
    } | changes


def test_a_wide_table_gives_answers_and_scores(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "standards", **wide(tmp_path))
    answers = table(run, "candidates").select("candidate_id", "text", "model")
    assert answers.height == 24
    assert set(answers["model"]) == {"model 1", "model 2", "model 3"}
    scored = table(run, "scores").join(answers, on="candidate_id")
    assert scored.height == 48
    for reward, score, text in scored.select("reward", "score", "text").iter_rows():
        i, p = int(text.split()[1]), int(text.split()[3].rstrip("."))
        assert score == 10 * p + i * (1 + MODELS.index(reward))
    probe_inputs(run.resolved)
    assert set(run.resolved.inputs) == {str(tmp_path / "wide.parquet")}


def test_a_wide_table_is_refused_where_it_is_not_as_it_is_said_to_be(tmp_path: Path) -> None:
    given = wide(tmp_path)
    given["rewards"]["oasst"]["fields"] |= {"score": "response_{i}_oast"}
    with pytest.raises(InputError, match="response_1_oasst"):
        run_stage(tmp_path, "scores", **given)
    flat = {"prompt": "prompt", "text": "response_1", "wide": 3}
    with pytest.raises(InputError, match="no column with"):
        run_stage(
            tmp_path, "candidates", **wide(tmp_path, candidates={"source": "file", "path": str(tmp_path / "wide.parquet"), "fields": flat})
        )


def test_one_answer_has_one_score(tmp_path: Path) -> None:
    given = wide(tmp_path)
    rows = [{"prompt": "Question 1?", "text": "Answer 1 to 1.", "score": score} for score in (1, 2)]
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given["personas"] = [{"source": "ensemble", "weights": [{"r": 1.0}]}]
    given["rewards"] = {"r": {"engine": "file", "path": str(tmp_path / "long.jsonl"), "fields": {"prompt": "prompt"}}}
    with pytest.raises(InputError, match="another score of the same answer"):
        run_stage(tmp_path, "scores", **given)
    for odd in ("1e300", "nan", "much"):
        (tmp_path / "long.jsonl").write_text(json.dumps(rows[0] | {"score": odd}))
        with pytest.raises(InputError, match=f"found '{odd}'; expected a number, at most"):
            run_stage(tmp_path, "scores", **given)


class Counting:
    """A reward model that counts its calls: the score is the length of the answer; it fails on what it is told to."""

    free, in_flight, votes, identity = True, 1, 0, "counting/one@1"
    calls = 0
    fails = ""

    def answer(self, requests: Any, stop: Any) -> Any:
        for place, request in enumerate(requests):
            Counting.calls += 1
            text = request.messages[1][1]
            yield [(place, Reply(error="too long") if Counting.fails and Counting.fails in text else Reply(text=f"{len(text):.4f}"))]


def test_a_score_is_paid_once_whoever_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scores, engines):
        monkeypatch.setattr(module, "open_reward", lambda name, section: Counting())
    rewards = {"one": {"engine": "endpoint", "model": "one"}}
    people = [{"source": "ensemble", "weights": [{"one": 1.0}]}]
    Counting.calls, Counting.fails = 0, "to 3."
    run = run_stage(tmp_path, "scores", **wide(tmp_path, personas=people, rewards=rewards))
    assert Counting.calls == 24
    assert table(run, "scores").height == 21
    assert set(table(run, "rejected").filter(pl.col("stage") == "scores")["detail"].str.split(": ").list.last()) == {"too long"}
    other = run_stage(tmp_path, "prompts", **wide(tmp_path, personas=people, rewards=rewards, name="another.parquet", seed=7))
    for stage in ("candidates", "scores"):
        made, _ = make(other, stage)
    assert Counting.calls == 24
    assert (made.asked, made.from_journal) == (0, 24)
    assert table(other, "scores").sort("candidate_id").equals(table(run, "scores").sort("candidate_id"))


@pytest.mark.parametrize(
    ("name", "stages", "rewards"),
    [("personalllm", 200, 10), ("attributes", 200, 4), ("personalllm_paper", 1000, 10), ("attributes_paper", 1000, 4)],
)
def test_the_recipes_of_users_resolve_and_ask_nobody_who_prefers_what(name: str, stages: int, rewards: int, tmp_path: Path) -> None:
    overrides = ["prompts.0.count=4", "comparisons.per_prompt=3", "comparisons.per_persona_prompt=1"]
    run = Run.create(tmp_path, resolve(name, overrides))
    found = report(forecast(run, materials(run)), run.resolved.recipe)
    assert found["stages"]["personas"]["rows"] == stages
    assert found["stages"]["judgements"]["calls"] == 0
    assert found["stages"]["scores"]["rows"] == found["stages"]["candidates"]["rows"] * rewards
    asked = [reward for reward in (run.resolved.recipe.rewards or {}).values() if reward.engine != "scorer"]
    assert found["stages"]["scores"]["calls"] == len(asked) * found["stages"]["candidates"]["rows"]
