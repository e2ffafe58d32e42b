"""Candidates: answers from every model in every view, or answers that exist already in a file.

    {source: models, models: [terse, scholar], views: ["a list of steps"], samples: 2}
    {source: file, path: answers.jsonl, fields: {prompt_id: prompt_id, model: model, text: text}}
    {source: file, path: wide.parquet, fields: {prompt: prompt, text: "response_{i}", model: "response_{i}_model", wide: 8}}

Views may be listed by a model for each prompt, and answers be written for personas (steering.py): then every model answers in every view
for every one of them. Answers that are empty, cut off, refusals, in another script, in Markdown or of another length where the recipe says
so, or repeated within a prompt are rejected with their reason.
With `diversity.candidates` near-duplicates within a prompt are too. Then every model's first answer in every view comes before any second
one, and of two that repeat each other the first stays: other models and other views make answers differ, another sample does little.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from prefloom.flows.dataset import inputs, tables
from prefloom.flows.dataset.coverage import LEFT_OUT
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.diversity.grid import on_grid
from prefloom.flows.engines.asking import Meter, Session, Sessions
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps.addressing import addresses_the_judge
from prefloom.flows.steps.selection import Encoder, apart, encoder_of
from prefloom.flows.steps.steering import NOBODY, Reader, Readers, ask_views, asked_views, steered
from prefloom.flows.steps.texts import Sieve, is_refusal, latin_share, markdown_in
from prefloom.prompts import PromptTemplate, expect_inputs
from prefloom.schemas.agreement import Draft
from prefloom.schemas.candidate import Candidate, candidate_id
from prefloom.schemas.checks import CandidateChecks
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id
from prefloom.schemas.label import Rejected
from prefloom.schemas.models import sampling_of
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe, Resolved
from prefloom.schemas.sources import FileCandidates, ModelCandidates
from prefloom.schemas.steering import AskedViews
from prefloom.schemas.texts import is_blank

Views = Mapping[str, Sequence[str]]  # prompt_id -> the views that a model lists for it

_NONE: Mapping[str, Any] = MappingProxyType({})
ROUND = 1000  # seeds from one round of answers to the next: a view has at most as many samples


def generate_candidates(job: ShardJob) -> ShardReport:
    """Ask every model for the prompts of this shard; a job for one model `only` journals its answers and writes nothing."""
    if done := job.done():
        return done
    recipe = job.run.resolved.recipe
    assert isinstance(recipe.candidates, ModelCandidates)
    settings = recipe.candidates
    prompts = tables.read(job.run.store, job.part("prompts"), Prompt)
    ids = prompts["prompt_id"].to_list()
    readers = _readers(job, prompts)
    models = [name for name in settings.models if job.only in (None, name)]
    meter = Meter(job, planned=_planned(settings, readers, ids, models))
    views: Views = {}
    missing: list[Rejected] = []
    with ExitStack() as stack:
        sessions = Sessions(job, meter, ids, stack)
        if wanted := asked_views(recipe):
            again = job.retry_failed and job.only in (None, wanted.model)
            views, missing = ask_views(recipe, prompts, sessions.of(wanted.model), again)
        plan = tasks(settings, prompts, views, readers, rounds_that_stay(job) if recipe.agreement else {})
        # What `drafts` asked again and did not get is not asked once more: nobody would have read it.
        answers = ask_models(recipe, models, plan, sessions.of, lambda _: job.retry_failed and not recipe.agreement)
    if job.only:
        return meter.billed(ShardReport(0, 0, {}))
    kept, rejected = sift(answers, recipe, encoder_of(job, quiet=True))
    rejected = pl.concat([rejected, tables.frame(Rejected, missing)])
    report = job.write(Candidate, kept, rejected, considered=len(answers) + len(missing), usage=meter.usage())
    return meter.billed(report)


def _readers(job: ShardJob, prompts: pl.DataFrame) -> Readers:
    """Whom the answers are written for, if the recipe wants them written for somebody."""
    recipe = job.run.resolved.recipe
    if not isinstance(recipe.candidates, ModelCandidates) or not recipe.candidates.steer:
        return {}
    return steered(recipe, tables.read(job.run.store, "personas/part-*.parquet", Persona), prompts)


def _planned(settings: ModelCandidates, readers: Readers, ids: list[str], models: list[str]) -> int:
    """Calls for these prompts by these models, if every view is there."""
    asked, views = (1, settings.views.count) if isinstance(settings.views, AskedViews) else (0, len(settings.views))
    people = sum(len(readers.get(prompt_id, [NOBODY])) for prompt_id in ids)
    return asked * len(ids) + people * views * settings.samples * len(models)


Answers = list[tuple[Candidate, Reply]]


def ask_models(
    recipe: Recipe, models: Sequence[str], plan: list["Task"], session: Callable[[str], Session], again: Callable[[str], bool]
) -> Answers:
    """What every model answers to the plan, model by model; failures of one for which `again` holds are asked once more."""
    answers: Answers = []
    for name in models:
        requests = requests_for(recipe, name, plan)
        replies = session(name).ask(requests, [row.prompt_id for row in plan], _failed if again(name) else None)
        answers += [(candidate(name, row, ask, reply), reply) for row, ask, reply in zip(plan, requests, replies, strict=True)]
    return answers


def rounds_that_stay(job: ShardJob) -> dict[str, int]:
    """Prompt -> the round of its answers that `drafts` settled on. Its calls are in the journal."""
    rounds = tables.read(job.run.store, job.part("drafts"), Draft, ["prompt_id", "round", "stays"])
    return dict(rounds.filter("stays").select("prompt_id", "round").iter_rows())


class Task(NamedTuple):
    """What every model is asked: one prompt in one view, for one person or nobody in particular, for the n-th time.

    In another round it is asked with other seeds.
    """

    prompt_id: str
    text: str
    view: str | None
    sample: int
    reader: Reader
    round: int = 0


def tasks(
    settings: ModelCandidates, prompts: pl.DataFrame, views: Views = _NONE, readers: Readers = _NONE, rounds: Mapping[str, int] = _NONE
) -> list[Task]:
    """The tasks of all prompts, in their order. `views`, `readers` and `rounds` by prompt, empty where the recipe asks for none."""
    listed = [] if isinstance(settings.views, AskedViews) else settings.views
    return [
        Task(prompt_id, text, view, sample, reader, rounds.get(prompt_id, 0))
        for prompt_id, text in prompts.select("prompt_id", "text").iter_rows()
        for view in views.get(prompt_id, listed)
        for reader in readers.get(prompt_id, [NOBODY])
        for sample in range(settings.samples)
    ]


def requests_for(recipe: Recipe, name: str, plan: list[Task]) -> list[Request]:
    """What a model is asked for each task. Samples of one view follow each other with consecutive seeds: a server may give them at once."""
    assert isinstance(recipe.candidates, ModelCandidates)
    settings = recipe.candidates
    template = answer_template(settings)
    temperature, sampling = sampling_of(recipe.models[name], settings.temperature)
    return [
        Request(
            template.render(prompt=task.text, view=task.view, **({"persona": task.reader.description} if settings.steer else {})),
            settings.max_tokens,
            temperature,
            recipe.seed + ROUND * task.round + task.sample,
            sampling=sampling,
            group=task.prompt_id,
        )
        for task in plan
    ]


def answer_template(settings: ModelCandidates) -> PromptTemplate:
    """The template that puts the task to a model; InputError if it does not take what it is given."""
    if settings.steer:
        return expect_inputs(settings.steer.template, frozenset({"prompt", "view", "persona"}))
    return expect_inputs(settings.template, frozenset({"prompt", "view"}))


def candidate(model: str, task: Task, request: Request, reply: Reply) -> Candidate:
    """The row that a reply makes, with an empty text if there is none."""
    return Candidate(
        candidate_id=candidate_id(task.prompt_id, model, task.view, task.sample, reply.text or "", task.reader.persona_id),
        prompt_id=task.prompt_id,
        text=reply.text or "",
        model=model,
        view=task.view,
        sample=task.sample,
        temperature=request.temperature,
        seed=request.seed,
        finish_reason=reply.finish_reason,
        source="models",
        steered_by=task.reader.persona_id,
    )


def import_candidates(job: ShardJob) -> ShardReport:
    """Read the file of answers once and deal them to the prompt shards."""
    recipe = job.run.resolved.recipe
    if done := job.done_parts(recipe.shards.prompts):
        return done
    prompts = tables.read(job.run.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "source_id"])
    repeated = tables.read(job.run.store, "rejected/prompts-*.parquet", Rejected)
    return job.write_parts(Candidate, *imported(job.run.resolved, prompts, repeated, encoder_of(job)), recipe.shards.prompts)


def imported(
    resolved: Resolved, prompts: pl.DataFrame, repeated: pl.DataFrame, encoder: Encoder | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Candidate, rows of Rejected) of the recipe's file of answers, for rows of Prompt and what was rejected among them.

    InputError if no answer names a prompt of the recipe.
    """
    recipe = resolved.recipe
    assert isinstance(recipe.candidates, FileCandidates)
    source, fields = recipe.candidates, recipe.candidates.fields
    known = set(prompts["prompt_id"])
    by_id, left = named_prompts(prompts, repeated), _left_out(repeated)
    link = fields.prompt_id or fields.prompt or ""
    columns = [name for name in (link, fields.text, fields.model) if name]
    samples: Counter[tuple[str, str]] = Counter()
    linked: list[Candidate] = []
    strangers: list[Candidate] = []
    for _, row in inputs.numbered(Path(source.path), columns, fields.wide, resolved.inputs[source.path]):
        target = row[link] or ""
        prompt_id = by_id.get(target, "") if fields.prompt_id else content_id("prompt", target.strip())
        model = (row[fields.model] if fields.model else None) or "unknown"
        text = (row[fields.text] or "").strip()
        sample = samples[prompt_id, model]
        samples[prompt_id, model] += 1
        answer = Candidate(
            candidate_id=candidate_id(prompt_id or target, model, None, sample, text),
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
        (linked if prompt_id in known else strangers).append(answer)
    if not linked:
        hint = "the column that `prompts.fields.id` names" if fields.prompt_id else "the text of a prompt"
        raise InputError(source.path, f"column '{link}'", found="no value that names a prompt of this recipe", expected=hint)
    kept, rejected = sift([(answer, None) for answer in linked], recipe, encoder)
    sieve = Sieve("candidates")
    for stranger in strangers:
        why = left.get(stranger.prompt_id)
        reason, detail = ("prompt_left_out", why) if why else ("unknown_prompt", "its prompt is not in this dataset")
        sieve.reject(stranger, stranger.candidate_id, reason, detail)
    return kept, pl.concat([rejected, sieve.rejected()])


def named_prompts(prompts: pl.DataFrame, repeated: pl.DataFrame) -> dict[str, str]:
    """The user's id of a prompt -> prompt_id.

    The id of an exact repetition names the prompt that it repeats. That of a near-duplicate, or of a prompt that was not chosen, names the
    prompt itself, which is not in the dataset: an answer to it is no answer to the one that stayed.
    """
    named = dict(prompts.select("source_id", "prompt_id").drop_nulls().iter_rows())
    for row in repeated.filter(pl.col("reason").is_in(["duplicate", *LEFT_OUT])).iter_rows(named=True):
        if (source_id := json.loads(row["row"])["source_id"]) is not None:
            named.setdefault(source_id, row["duplicate_of"] if row["reason"] == "duplicate" else row["row_id"])
    return named


def _left_out(repeated: pl.DataFrame) -> dict[str, str]:
    """prompt_id -> why it is not in the dataset, for an answer that names it."""
    gone = repeated.filter(pl.col("reason").is_in(LEFT_OUT)).select("row_id", "reason", "detail")
    return {row_id: f"its prompt was left out: {reason}, {detail}" for row_id, reason, detail in gone.iter_rows()}


def sift(
    answers: Iterable[tuple[Candidate, Reply | None]], recipe: Recipe, encoder: Encoder | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(kept, rejected), in that order; kept rows sorted by prompt and candidate, failures after what the checks rejected.

    Without an encoder near-duplicates stay.
    """
    sieve, checks = Sieve("candidates"), recipe.checks.candidates
    kept: list[Candidate] = []
    failed: list[Rejected] = []
    wanted = recipe.diversity and recipe.diversity.candidates if encoder else None
    if wanted:
        answers = sorted(answers, key=lambda pair: pair[0].sample)
    for answer, reply in answers:
        if reply and reply.error:
            failed.append(_failure(answer, reply.error))
        elif fault := _fault(answer, checks):
            sieve.reject(answer, answer.candidate_id, *fault)
        elif sieve.admit(answer, answer.candidate_id, answer.text, group=answer.prompt_id):
            kept.append(answer)
    if wanted and encoder:
        kept = _apart(sieve, kept, wanted.near_duplicate, encoder)
    kept.sort(key=lambda answer: (answer.prompt_id, answer.candidate_id))
    return tables.frame(Candidate, kept), pl.concat([sieve.rejected(), tables.frame(Rejected, failed)])


def _apart(sieve: Sieve, answers: list[Candidate], threshold: float, encoder: Encoder) -> list[Candidate]:
    """Those that repeat no earlier answer to the same prompt."""
    answers = sorted(answers, key=lambda answer: answer.prompt_id)
    grid = on_grid(encoder.encode([answer.text for answer in answers]))
    kept, start = [], 0
    for _, group in itertools.groupby(answers, key=lambda answer: answer.prompt_id):
        rows = [(answer.candidate_id, answer.text, answer) for answer in group]
        kept += [rows[place][2] for place in apart(sieve, rows, grid[start : start + len(rows)], threshold, encoder.name)]
        start += len(rows)
    return kept


def _fault(answer: Candidate, checks: CandidateChecks) -> tuple[str, str] | None:
    if checks.truncated and answer.finish_reason == "length":
        return "truncated", "the model was cut off"
    if checks.refused and is_refusal(answer.text):
        return "refused", answer.text[:120]
    if not checks.markdown and (mark := markdown_in(answer.text)):
        return "markdown", mark
    words = len(answer.text.split())
    if checks.max_words is not None and words > checks.max_words:
        return "too_long", f"{words} words, at most {checks.max_words}"
    if checks.min_words is not None and words < checks.min_words and not is_blank(answer.text):
        return "too_short", f"{words} words, at least {checks.min_words}"
    if checks.instructions and (said := addresses_the_judge(answer.text)):
        return "addresses_the_judge", said
    if (share := latin_share(answer.text)) < checks.min_latin_share:
        return "wrong_language", f"{share:.0%} of its letters are Latin"
    return None


def _failed(reply: Reply) -> bool:
    return reply.error is not None


def _failure(answer: Candidate, error: str) -> Rejected:
    return Rejected(
        stage="candidates",
        kind="failure",
        reason="error",
        row_id=answer.candidate_id,
        detail=error,
        row=answer.model_dump_json(),
    )
