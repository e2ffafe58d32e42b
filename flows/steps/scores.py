"""Scores: what every reward makes of every answer; and standards: what makes the scores of different rewards comparable.

    rewards: {thrift: {engine: scorer, property: thrift}}   ->  scores: {"candidate_id": "41be…", "reward": "thrift", "score": 2.3071}
                                                                standards: {"reward": "thrift", "mean": 0.412, "sd": 1.08, …}

A model's score of an exchange goes through the journal, so it is made once, whatever recipe asks for it. An answer without a score is a
failure of that answer and reward: a row in rejected/, and a persona that weighs the reward cannot decide about the answer.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import inputs, standards, tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines import scorers
from prefloom.flows.engines.asking import Meter, asking
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.engines.rewards import ask, open_reward
from prefloom.flows.steps.candidates import named_prompts
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id
from prefloom.schemas.label import Rejected
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.rewards import EndpointReward, FileReward, ScoreFields, ScorerReward, TransformersReward
from prefloom.schemas.score import Score, Standard

LARGEST = 1_000_000_000_000  # size of a score; on the grid of 1e-4 it is a whole number of 64 bits

Scored = list[float | str]  # a score for each answer, or why there is none


def score_candidates(job: ShardJob) -> ShardReport:
    """The scores of this shard's answers, sorted by answer and reward."""
    if done := job.done():
        return done
    rewards = job.run.resolved.recipe.rewards
    assert rewards, "a recipe without rewards has no such stage"
    answers = tables.read(job.run.store, job.part("candidates"), Candidate, ["candidate_id", "prompt_id", "model", "text"])
    meter = Meter(job, planned=answers.height * len(rewards))
    if job.only:  # journals its scores and writes nothing
        section = rewards[job.only]
        assert isinstance(section, TransformersReward), "the others need not wait for each other"
        _asked(job, job.only, section, answers, meter)
        return meter.billed(ShardReport(0, 0, {}))
    measured: dict[str, NDArray[np.float32]] = {}  # set -> all its properties, which are measured together
    rows: list[pl.DataFrame] = []
    for name, section in sorted(rewards.items()):
        if isinstance(section, ScorerReward):
            if section.set not in measured:
                measured[section.set] = scorers.score(section.set, answers["text"].to_list())
            found: Scored = [round(float(value), 4) for value in measured[section.set][:, scorers.PROPERTIES.index(section.property)]]
        elif isinstance(section, FileReward):
            found = _looked_up(job, name, section, answers)
        else:
            found = _asked(job, name, section, answers, meter)
        scores = [value if isinstance(value, float) else None for value in found]
        why = [None if isinstance(value, float) else value for value in found]
        columns = pl.Series("score", scores, dtype=pl.Float64), pl.Series("why", why, dtype=pl.String)
        rows.append(answers.select("candidate_id", "prompt_id", pl.lit(name).alias("reward"), *columns))
    table = pl.concat(rows).sort("candidate_id", "reward")
    lost = tables.frame(Rejected, [_unscored(*row) for row in table.filter(pl.col("why").is_not_null()).drop("score").iter_rows()])
    kept = table.filter(pl.col("why").is_null()).drop("why")
    return meter.billed(job.write(Score, kept, lost, considered=table.height, usage=meter.usage()))


def fit_standards(job: ShardJob) -> ShardReport:
    """The standards of all rewards, in one part."""
    if done := job.done():
        return done
    store, rewards = job.run.store, job.run.resolved.recipe.rewards or {}
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split"])
    train = prompts.filter(pl.col("split") == "train")["prompt_id"]
    rows = standards.fit(tables.read(store, "scores/part-*.parquet", Score), train, {name: one.sign for name, one in rewards.items()})
    if nothing := [row.reward for row in rows if not row.answers]:
        raise InputError(f"rewards.{nothing[0]}", found="no scored answer to a train prompt", expected="at least one, to standardise by")
    return job.write(Standard, tables.frame(Standard, rows), tables.frame(Rejected, []), considered=len(rows))


def _unscored(candidate_id: str, prompt_id: str, reward: str, why: str) -> Rejected:
    detail = f"{reward}, prompt {prompt_id}: {why}"[:500]
    return Rejected(stage="scores", kind="failure", reason="unscored", row_id=candidate_id, detail=detail)


def _asked(job: ShardJob, name: str, section: TransformersReward | EndpointReward, answers: pl.DataFrame, meter: Meter) -> Scored:
    texts = dict(tables.read(job.run.store, job.part("prompts"), Prompt, ["prompt_id", "text"]).iter_rows())
    prompts = answers["prompt_id"].to_list()
    requests = [ask(texts[prompt_id], answer) for prompt_id, answer in zip(prompts, answers["text"], strict=True)]
    with asking(open_reward(name, section), job.run, list(texts)) as session:
        meter.follow(name, session)
        return [_read(reply) for reply in session.ask(requests, prompts, _failed if job.retry_failed else None)]


def _read(reply: Reply) -> float | str:
    if reply.error is not None or reply.text is None:
        return reply.error or "no score"
    try:
        return float(reply.text)
    except ValueError:
        return f"no number: {reply.text}"


def _failed(reply: Reply) -> bool:
    return isinstance(_read(reply), str)


class _Columns(NamedTuple):
    """What a file of scores is read by."""

    path: str
    sha256: str
    link: str
    by_id: bool
    text: str
    model: str | None
    wide: int | None
    score: str


def _looked_up(job: ShardJob, name: str, section: FileReward, answers: pl.DataFrame) -> Scored:
    """The scores that a file has of these answers. A prompt is named as for imported answers: by its id or by its text."""
    fields, store = section.fields, job.run.store
    link = fields.prompt_id or fields.prompt or ""
    columns = _Columns(section.path, job.run.resolved.inputs[section.path], link, bool(fields.prompt_id), *_named(fields))
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "source_id"])
    called: dict[str, list[str]] = {}  # prompt_id -> what the file may call it
    if fields.prompt_id:
        for source_id, prompt_id in named_prompts(prompts, tables.read(store, "rejected/prompts-*.parquet", Rejected)).items():
            called.setdefault(prompt_id, []).append(source_id)
    known = _file(columns)
    found: Scored = []
    for prompt_id, model, text in answers.select("prompt_id", "model", "text").iter_rows():
        names = called.get(prompt_id, []) if fields.prompt_id else [prompt_id]  # a text's id is the hash of it
        keys = ((one, model if fields.model else "", text) for one in names)
        found.append(next((known[key] for key in keys if key in known), f"no score in the file of {name}"))
    return found


def _named(fields: ScoreFields) -> tuple[str, str | None, int | None, str]:
    return fields.text, fields.model, fields.wide, fields.score


@lru_cache(maxsize=16)  # all shards read the same; a wide file has some ten columns of scores
def _file(columns: _Columns) -> dict[tuple[str, str, str], float | str]:
    """(prompt, model or nothing, answer) -> score. InputError for one that is no number, or for two that differ."""
    wanted = [name for name in (columns.link, columns.text, columns.model, columns.score) if name]
    found: dict[tuple[str, str, str], float | str] = {}
    for place, row in inputs.numbered(Path(columns.path), wanted, columns.wide, columns.sha256):
        prompt = row[columns.link] or ""
        key = (
            prompt if columns.by_id else content_id("prompt", prompt.strip()),
            (row[columns.model] or "") if columns.model else "",
            (row[columns.text] or "").strip(),
        )
        given = row[columns.score]
        if given is None or not given.strip():
            continue
        try:
            value = round(float(given), 4) + 0.0
        except ValueError:
            value = float("nan")
        if not abs(value) <= LARGEST:
            expected = f"a number, at most {LARGEST:,} in size"
            raise InputError(columns.path, f"{place}, column '{columns.score}'", found=f"'{given[:80]}'", expected=expected)
        if found.setdefault(key, value) != value:
            expected = "one score for one answer, or `fields.model` to tell equal answers of two models apart"
            raise InputError(columns.path, place, found="another score of the same answer", expected=expected)
    return found
