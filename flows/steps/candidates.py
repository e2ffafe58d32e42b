"""Candidates: answers from every model in every view, or answers that exist already in a file.

    {source: models, models: [terse, scholar], views: ["a list of steps"], samples: 2}
    {source: file, path: answers.jsonl, fields: {prompt_id: prompt_id, model: model, text: text}}

Answers that are empty, cut off, refusals, in another script, or repeated within a prompt are rejected with their reason.
"""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import Meter, Session, asking
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps.texts import Sieve, is_refusal, latin_share
from prefloom.prompts import expect_inputs
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id
from prefloom.schemas.label import Rejected
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import CandidateChecks, FileCandidates, ModelCandidates


def generate_candidates(job: ShardJob) -> ShardReport:
    """Ask every model for the prompts of this shard."""
    if done := job.done():
        return done
    recipe = job.run.resolved.recipe
    assert isinstance(recipe.candidates, ModelCandidates)
    settings = recipe.candidates
    template = expect_inputs(settings.template, frozenset({"prompt", "view"}))
    prompts = tables.read(job.run.store, job.part("prompts"), Prompt)
    plan = [
        (prompt_id, text, view, sample)
        for prompt_id, text in prompts.select("prompt_id", "text").iter_rows()
        for view in settings.views
        for sample in range(settings.samples)
    ]
    answers: list[tuple[Candidate, Reply]] = []
    sessions: dict[str, Session] = {}
    meter = Meter(job, planned=len(plan) * len(settings.models))
    asked_as: dict[str, str] = {}  # two names may be one model, which is not asked twice
    with ExitStack() as stack:
        for name in settings.models:
            engine = open_engine(recipe.models[name])
            first = asked_as.setdefault(engine.identity, name)
            if first == name:
                session = asking(engine, job.run.journal(engine.identity), prompts["prompt_id"].to_list())
                sessions[name] = meter.follow(name, stack.enter_context(session))
            requests = [
                Request(template.render(prompt=text, view=view), settings.max_tokens, settings.temperature, recipe.seed + sample)
                for _, text, view, sample in plan
            ]
            replies = sessions[first].ask(requests, [row[0] for row in plan], _failed if job.retry_failed else None)
            answers += [(_candidate(name, *row, ask, reply), reply) for row, ask, reply in zip(plan, requests, replies, strict=True)]
    failed = [_failure(candidate, reply.error) for candidate, reply in answers if reply.error]
    kept, refused = _sift((candidate for candidate, reply in answers if not reply.error), recipe.checks.candidates)
    rejected = pl.concat([refused, tables.frame(Rejected, failed)])
    report = job.write(Candidate, kept, rejected, considered=len(answers), usage=meter.usage())
    return meter.billed(report)


def _candidate(model: str, prompt_id: str, _: str, view: str | None, sample: int, request: Request, reply: Reply) -> Candidate:
    return Candidate(
        candidate_id=content_id("candidate", prompt_id, model, view, sample, reply.text or ""),
        prompt_id=prompt_id,
        text=reply.text or "",
        model=model,
        view=view,
        sample=sample,
        temperature=request.temperature,
        seed=request.seed,
        finish_reason=reply.finish_reason,
        source="models",
    )


def import_candidates(job: ShardJob) -> ShardReport:
    """Read the file of answers once and deal them to the prompt shards."""
    recipe = job.run.resolved.recipe
    if done := job.done_parts(recipe.shards.prompts):
        return done
    assert isinstance(recipe.candidates, FileCandidates)
    source, fields = recipe.candidates, recipe.candidates.fields
    prompts = tables.read(job.run.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "source_id"])
    known = set(prompts["prompt_id"])
    by_id = _named_prompts(job.run, prompts)
    link = fields.prompt_id or fields.prompt or ""
    columns = [name for name in (link, fields.text, fields.model) if name]
    samples: Counter[tuple[str, str]] = Counter()
    linked: list[Candidate] = []
    strangers: list[Candidate] = []
    for _, row in inputs.rows(Path(source.path), columns, job.run.resolved.inputs[source.path]):
        target = row[link] or ""
        prompt_id = by_id.get(target, "") if fields.prompt_id else content_id("prompt", target.strip())
        model = (row[fields.model] if fields.model else None) or "unknown"
        text = (row[fields.text] or "").strip()
        sample = samples[prompt_id, model]
        samples[prompt_id, model] += 1
        candidate = Candidate(
            candidate_id=content_id("candidate", prompt_id or target, model, None, sample, text),
            prompt_id=prompt_id or target,
            text=text,
            model=model,
            view=None,
            sample=sample,
            temperature=None,
            seed=None,
            finish_reason=None,
            source="file",
        )
        (linked if prompt_id in known else strangers).append(candidate)
    if not linked:
        hint = "the column that `prompts.fields.id` names" if fields.prompt_id else "the text of a prompt"
        raise InputError(source.path, f"column '{link}'", found="no value that names a prompt of this recipe", expected=hint)
    kept, rejected = _sift(linked, recipe.checks.candidates)
    sieve = Sieve("candidates")
    for stranger in strangers:
        sieve.reject(stranger, stranger.candidate_id, "unknown_prompt", "its prompt is not in this dataset")
    return job.write_parts(Candidate, kept, pl.concat([rejected, sieve.rejected()]), recipe.shards.prompts)


def _named_prompts(run: Run, prompts: pl.DataFrame) -> dict[str, str]:
    """The user's id of a prompt -> prompt_id; the ids of rejected repetitions name the prompt they repeat."""
    named = dict(prompts.drop_nulls().select("source_id", "prompt_id").iter_rows())
    for row in tables.read(run.store, "rejected/prompts-*.parquet", Rejected).drop_nulls("duplicate_of").iter_rows(named=True):
        if (source_id := json.loads(row["row"])["source_id"]) is not None:
            named.setdefault(source_id, row["duplicate_of"])
    return named


def _sift(candidates: Iterable[Candidate], checks: CandidateChecks) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(kept, rejected), in that order; kept rows sorted by prompt and candidate."""
    sieve = Sieve("candidates")
    kept: list[Candidate] = []
    for candidate in candidates:
        if fault := _fault(candidate, checks):
            sieve.reject(candidate, candidate.candidate_id, *fault)
        elif sieve.admit(candidate, candidate.candidate_id, candidate.text, group=candidate.prompt_id):
            kept.append(candidate)
    kept.sort(key=lambda candidate: (candidate.prompt_id, candidate.candidate_id))
    return tables.frame(Candidate, kept), sieve.rejected()


def _fault(candidate: Candidate, checks: CandidateChecks) -> tuple[str, str] | None:
    if checks.truncated and candidate.finish_reason == "length":
        return "truncated", "the model was cut off"
    if checks.refused and is_refusal(candidate.text):
        return "refused", candidate.text[:120]
    if (share := latin_share(candidate.text)) < checks.min_latin_share:
        return "wrong_language", f"{share:.0%} of its letters are Latin"
    return None


def _failed(reply: Reply) -> bool:
    return reply.error is not None


def _failure(candidate: Candidate, error: str | None) -> Rejected:
    return Rejected(
        stage="candidates",
        kind="failure",
        reason="error",
        row_id=candidate.candidate_id,
        detail=error or "",
        row=candidate.model_dump_json(),
    )
