"""Judgements: every assigned persona reads every comparison in both orders, once per template (or adaptively: adaptive.py).

Personas made of weights decide without a judge (utilities.py).

A judge is asked pair first, persona last, grouped by (comparison, order), so that a prefix cache holds the long part for all personas.
It answers with one letter; the log-probabilities of exactly the two letters are read. An answer off the menu is a failure, never a guess.

    reply logprobs {"A": -0.32, "B": -1.40}   ->   log_odds 1.08 for the candidate shown first, mass 0.97
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.uses import GENERIC
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import Meter, Session, asking
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps.adaptive import Progress, batches
from prefloom.flows.steps.utilities import decide
from prefloom.prompts import expect_inputs
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.checks import Judgements
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.label import Judgement, Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

LETTERS = ("A", "B")
INPUTS = frozenset({"persona", "prompt", "first", "second"})
NOBODY = ""  # stands for the persona of a reading that is of people in general
CHUNK = 4096  # readings rendered at a time, or fewer
CHUNK_CHARACTERS = 32_000_000  # if the answers are long: bounds the memory of a shard, changes no byte

Reading = tuple[Comparison, str, str]  # the comparison as shown, the template, the persona
Read = tuple[float, float] | str  # log-odds of the answer shown first and mass, or why there are none


def judge_comparisons(job: ShardJob) -> ShardReport:
    """Read this shard's comparisons, and sort the judgements by comparison, persona, order, template."""
    if done := job.done():
        return done
    run, recipe = job.run, job.run.resolved.recipe
    comparisons, prompts, answers = compared(job)
    judgements: list[tuple[str, str, str, str, str, int, str, float, float]] = []
    failures: list[Rejected] = []
    personas = tables.read(run.store, "personas/part-*.parquet", Persona)
    decided, undecided = decide(job, personas)
    if not recipe.asks:
        return job.write(Judgement, decided, undecided, considered=decided.height + undecided.height)
    comparisons = _for_judges(comparisons, personas)
    engine = open_engine(run, recipe.judgements.model)
    request = asker(recipe, engine.votes, _column(descriptions(run.store)), prompts, answers)
    meter = Meter(job, planned=2 * len(recipe.judgements.templates) * sum(len(comparison.persona_ids) for comparison in comparisons))
    with asking(engine, run, list(prompts)) as session:
        meter.follow(recipe.judgements.model, session)
        for chunk in _read(session, comparisons, recipe.judgements, request, answers, job.retry_failed):
            for reading, read, reply in chunk:
                if isinstance(read, str):
                    failures.append(failure("judgements", reading, read, reply))
                    continue
                comparison, template, persona_id = reading
                row = (persona_id, comparison.comparison_id, comparison.prompt_id, comparison.order, portable(template), 0)
                judgements.append((*row, recipe.judgements.model, *read))
            meter.sorted_out(len(judgements), len(failures))
    frame = pl.DataFrame(judgements, schema=list(Judgement.model_fields), orient="row") if judgements else tables.frame(Judgement, [])
    frame = pl.concat([frame, decided], how="vertical_relaxed").sort("comparison_id", "persona_id", "order", "template", "repeat")
    report = job.write(
        Judgement,
        frame,
        pl.concat([tables.frame(Rejected, failures), undecided]),
        considered=frame.height + len(failures) + undecided.height,
        usage=meter.usage(),
    )
    return meter.billed(report)


def compared(job: ShardJob) -> tuple[list[Comparison], dict[str, str], dict[str, str]]:
    """(comparisons, prompt -> text, answer -> text) of a job's shard."""
    store = job.run.store
    rows = tables.read(store, job.part("comparisons"), Comparison).iter_rows(named=True)
    comparisons = [Comparison.model_construct(None, **row) for row in rows]
    prompts = _column(tables.read(store, job.part("prompts"), Prompt, ["prompt_id", "text"]))
    return comparisons, prompts, _column(tables.read(store, job.part("candidates"), Candidate, ["candidate_id", "text"]))


def _for_judges(comparisons: list[Comparison], personas: pl.DataFrame) -> list[Comparison]:
    """The same comparisons without the personas that decide by weights."""
    weighing = set(personas.filter(pl.col("kind") != "judge")["persona_id"])
    if not weighing:
        return comparisons
    kept = ([who for who in comparison.persona_ids if who not in weighing] for comparison in comparisons)
    return [one.model_copy(update={"persona_ids": who}) for one, who in zip(comparisons, kept, strict=True)]


def _read(
    session: Session,
    comparisons: Sequence[Comparison],
    judgements: Judgements,
    request: Callable[[Reading], Request],
    answers: Mapping[str, str],
    retry_failed: bool,
) -> Iterator[list[tuple[Reading, Read, Reply]]]:
    """All readings at once, or template after template for those of whom too little is known."""
    if judgements.adaptive is None:
        yield from read_all(session, readings_of(comparisons, judgements.templates), request, answers, retry_failed)
        return
    for some in batches(comparisons, 2 * len(judgements.templates), CHUNK):
        progress = Progress(judgements)
        for template in judgements.templates:
            for chunk in read_all(session, progress.wave(some, template), request, answers, retry_failed):
                for reading, read, _ in chunk:
                    if not isinstance(read, str):
                        progress.take(reading, read[0])
                yield chunk


def asker(
    recipe: Recipe, votes: int, personas: Mapping[str, str], prompts: Mapping[str, str], answers: Mapping[str, str]
) -> Callable[[Reading], Request]:
    """What a reading asks, from the texts by id: descriptions, prompts, answers. `votes` as the judge's engine wants them."""
    templates = {name: expect_inputs(name, INPUTS) for name in recipe.judgements.templates}
    templates |= {GENERIC: expect_inputs(GENERIC, INPUTS - {"persona"})} if recipe.pilot or recipe.controls else {}

    def request(reading: Reading) -> Request:
        comparison, template, persona_id = reading
        whose = {} if persona_id == NOBODY else {"persona": personas[persona_id]}
        messages = templates[template].render(
            **whose,
            prompt=prompts[comparison.prompt_id],
            first=answers[comparison.first_id],
            second=answers[comparison.second_id],
        )
        group = f"{comparison.comparison_id} {comparison.order} {template}"
        return Request(messages, max_tokens=1, letters=LETTERS, votes=votes, group=group)

    return request


def read_all(
    session: Session, plan: Iterator[Reading], request: Callable[[Reading], Request], answers: Mapping[str, str], retry_failed: bool
) -> Iterator[list[tuple[Reading, Read, Reply]]]:
    """Ask all of the plan and give what came of it, so many readings at a time that a shard's memory stays bounded."""
    for readings in _chunks(plan, answers):
        scopes = [comparison.prompt_id for comparison, _, _ in readings]
        replies = session.ask([request(reading) for reading in readings], scopes, _failed if retry_failed else None)
        yield [(reading, read_letters(reply), reply) for reading, reply in zip(readings, replies, strict=True)]


def read_letters(reply: Reply) -> Read:
    """(log-odds of the first letter, mass of both) on a grid of 1e-4, or the reason why the reply cannot be read."""
    if reply.error is not None:
        return "error"
    if reply.votes is not None:
        return _counted(reply.votes)
    logprobs = reply.logprobs or {}
    first, second = logprobs.get(LETTERS[0], math.nan), logprobs.get(LETTERS[1], math.nan)
    if not (math.isfinite(first) and math.isfinite(second)):
        return "off_menu" if (reply.text or "").strip() not in LETTERS else "no_logprobs"
    return round(first - second, 4), round(math.exp(first) + math.exp(second), 4)


def _counted(votes: Mapping[str, int]) -> Read:
    """The same from sampled answers, with half a vote more for each letter, so that a unanimous judge is not infinitely sure."""
    counts = [votes.get(letter, 0) for letter in LETTERS]
    if not sum(counts):
        return "off_menu"
    first, second = (count + 0.5 for count in counts)
    return round(math.log(first / second), 4), round(sum(counts) / sum(votes.values()), 4)


def readings_of(comparisons: Sequence[Comparison], templates: Sequence[str]) -> Iterator[Reading]:
    """Every reading of these comparisons by their personas, grouped by comparison and order."""
    for comparison in comparisons:
        for shown in (comparison, comparison.swap()):
            for template in templates:
                for persona_id in comparison.persona_ids:
                    yield shown, template, persona_id


def _chunks(plan: Iterator[Reading], answers: Mapping[str, str]) -> Iterator[list[Reading]]:
    chunk: list[Reading] = []
    characters = 0
    for reading in plan:
        chunk.append(reading)
        characters += len(answers[reading[0].first_id]) + len(answers[reading[0].second_id])
        if len(chunk) == CHUNK or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _failed(reply: Reply) -> bool:
    return isinstance(read_letters(reply), str)


def failure(stage: str, reading: Reading, reason: str, reply: Reply) -> Rejected:
    """The rejected row of a reading that could not be had."""
    comparison, template, persona_id = reading
    return Rejected(
        stage=stage,
        kind="failure",
        reason=reason,
        row_id=comparison.comparison_id,
        persona_id=persona_id or None,
        detail=f"order {comparison.order}, {portable(template)}: {reply.error or reply.text or ''}"[:500],
    )


def _column(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.iter_rows())
