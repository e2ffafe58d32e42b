"""Pilot: what a prompt's answers are worth in general, which of them stay, and which pairs of those divide people.

    pilot: {keep: 4, floor: -1.0, personas: 12}

1  General quality: the judge compares answers for nobody in particular (judge/generic, both orders). An answer meets the next two in the
   order of ids, in a circle; up to five answers thus all meet. What is below the floor is rejected as `below_floor`, but the best two stay.
2  The `keep` answers farthest apart stay, models and views in equal shares, the best first; the others are rejected as `less_diverse`.
3  Some people of the training split read every pair of these, in both orders, under the first template. Test people never do, so that
   none of their readings decides what they are asked. A prompt has readers of its own, the lowest by hash of (persona, prompt): a new
   prompt moves nobody, and M new personas among N old ones replace about P · M / (N + M) of its P readers.

Readings of 3 are the calls that `judgements` makes too, so those that come up again are found in the journal. A reader of whom one order
could not be had is left out of the pair's lists; the failure is a rejected row. An item of the accounting is an answer or a reading.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, groupby
from typing import NamedTuple

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.embeddings import of_run
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.uses import GENERIC
from prefloom.flows.diversity import informative
from prefloom.flows.diversity.grid import Grid, cosines, on_grid
from prefloom.flows.diversity.spread import spread
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import Meter, asking
from prefloom.flows.steps.comparisons import matching
from prefloom.flows.steps.judgements import CHUNK, NOBODY, Read, Reading, asker, failure, read_all, readings_of
from prefloom.flows.steps.selection import stratify
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import ORDERS, Comparison
from prefloom.schemas.ids import content_id, draw, keys
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe

CIRCLE = 2  # answers that follow in the circle and that each is compared with

Ask = Callable[[Sequence[Reading]], Sequence[Read]]
Said = Mapping[tuple[str, str], tuple[float, float]]  # (comparison, persona) -> margin for the first answer, bias


class Answer(NamedTuple):
    """One answer of a prompt, and where its vector stands."""

    candidate_id: str
    model: str
    view: str | None
    place: int


def look_ahead(job: ShardJob) -> ShardReport:
    """Look at the answers of this shard's prompts, some prompts at a time, and sort the pairs that are left by prompt and comparison."""
    if done := job.done():
        return done
    run, recipe = job.run, job.run.resolved.recipe
    candidates = tables.read(run.store, job.part("candidates"), Candidate)
    ids, vectors = of_run(run.store, "candidates", job.part("embeddings"))
    grid, grouped = on_grid(vectors), answers_of(candidates, ids)
    people = tables.read(run.store, "personas/part-*.parquet", Persona, ["persona_id", "description", "split", "traits"])
    texts = dict(candidates.select("candidate_id", "text").iter_rows())
    tasks = tables.read(run.store, job.part("prompts"), Prompt, ["prompt_id", "text", "trait", "trait_value"])
    prompts = dict(tasks.select("prompt_id", "text").iter_rows())
    train = people.filter(pl.col("split") == "train")["persona_id"].to_list()
    own = own_readers(people, tasks)
    meter = Meter(job, planned=sum(planned(recipe, len(answers), len(own.get(name, train))) for name, answers in grouped.items()))
    pairs: list[PilotPair] = []
    rejected: list[Rejected] = []
    considered = len(texts)
    if not (recipe.pilot and (recipe.pilot.rates or recipe.pilot.personas)):
        pairs, rejected = look(recipe, grouped, grid, train, lambda _: [], own)
    else:
        engine = open_engine(run, recipe.judgements.model)
        request = asker(recipe, engine.votes, dict(people.select("persona_id", "description").iter_rows()), prompts, texts)
        with asking(engine, run, list(prompts)) as session:
            meter.follow(recipe.judgements.model, session)

            def ask(plan: Sequence[Reading]) -> list[Read]:
                nonlocal considered
                found: list[Read] = []
                for chunk in read_all(session, iter(plan), request, texts, job.retry_failed):
                    found += [read for _, read, _ in chunk]
                    rejected.extend(failure("pilot", reading, read, reply) for reading, read, reply in chunk if isinstance(read, str))
                considered += len(found)
                return found

            for some in _batches(recipe, grouped, len(train)):
                rows, refused = look(recipe, some, grid, train, ask, own)
                pairs += rows
                rejected += refused
                meter.sorted_out(considered - len(rejected), len(rejected))
    frame, beside = tables.frame(PilotPair, pairs), tables.frame(Rejected, rejected)
    report = job.write(PilotPair, frame, beside, considered, considered - beside.height, meter.usage())
    return meter.billed(report)


def answers_of(candidates: pl.DataFrame, ids: Sequence[str]) -> dict[str, list[Answer]]:
    """Prompt -> its answers by id, from rows of Candidate, whose vectors stand in the order of `ids`."""
    place = {candidate_id: row for row, candidate_id in enumerate(ids)}
    found: dict[str, list[Answer]] = {}
    rows = candidates.select("prompt_id", "candidate_id", "model", "view").sort("prompt_id", "candidate_id")
    for prompt_id, candidate_id, model, view in rows.iter_rows():
        found.setdefault(prompt_id, []).append(Answer(candidate_id, model, view, place[candidate_id]))
    return found


def planned(recipe: Recipe, answers: int, people: int) -> int:
    """Readings about one prompt with so many answers, if all of them reach the floor."""
    assert recipe.pilot, "a recipe without a pilot has no such stage"
    kept = min(answers, recipe.pilot.keep or answers)
    return 2 * (recipe.pilot.rates * len(circle(answers)) + min(recipe.pilot.personas, people) * kept * (kept - 1) // 2)


def circle(count: int) -> list[tuple[int, int]]:
    """Pairs in which each of `count` answers meets the next CIRCLE ones, the first after the last."""
    steps = ((place, (place + step) % count) for place in range(count) for step in range(1, CIRCLE + 1))
    return sorted({(min(pair), max(pair)) for pair in steps if pair[0] != pair[1]})


def _batches(recipe: Recipe, grouped: Mapping[str, list[Answer]], people: int) -> Iterator[dict[str, list[Answer]]]:
    """Prompts whose readings are asked together: a session forgets what was long ago."""
    batch: dict[str, list[Answer]] = {}
    size = 0
    for prompt_id, answers in grouped.items():
        batch[prompt_id] = answers
        size += planned(recipe, len(answers), people)
        if size >= CHUNK:
            yield batch
            batch, size = {}, 0
    yield batch


def look(
    recipe: Recipe,
    grouped: Mapping[str, list[Answer]],
    vectors: Grid,
    train: Sequence[str],
    ask: Ask,
    own: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[PilotPair], list[Rejected]]:
    """Pairs of the answers that stay, and the answers that do not, for some prompts. `ask` is called once for each wave.

    Those of `train` read the pairs; of a prompt in `own` only those that stand there.
    """
    settings = recipe.pilot
    assert settings, "a recipe without a pilot has no such stage"
    meetings = [
        pair_of(prompt_id, answers[one], answers[other], [NOBODY])
        for prompt_id, answers in grouped.items()
        for one, other in circle(len(answers) if settings.rates else 0)
    ]
    general = both_orders([*readings_of(meetings, [GENERIC])], ask)
    rejected: list[Rejected] = []
    quality: dict[str, float] = {}
    pairs: list[Comparison] = []
    for prompt_id, answers in grouped.items():
        if settings.rates:
            quality |= _qualities(prompt_id, answers, general)
        fit, poor = _above_floor(answers, quality, settings.floor)
        kept, alike = _farthest(recipe, fit, quality, vectors)
        rejected += [*poor, *alike]
        readers = readers_of(recipe, (own or {}).get(prompt_id, train), prompt_id) if len(kept) > 1 else []
        of_prompt = [pair_of(prompt_id, one, other, readers) for one, other in combinations(kept, 2)]
        pairs += sorted(of_prompt, key=lambda pair: pair.comparison_id)
    said = both_orders([*readings_of(pairs, recipe.judgements.templates[:1])] if settings.personas else [], ask)
    place = {answer.candidate_id: answer.place for answers in grouped.values() for answer in answers}
    rows: list[PilotPair] = []
    for _, group in groupby(pairs, key=lambda pair: pair.prompt_id):
        rows += _rows([*group], said, quality, place, vectors)
    return rows, rejected


def pair_of(prompt_id: str, one: Answer, other: Answer, readers: Sequence[str]) -> Comparison:
    """Two answers in order ab, and who reads them. What a comparison has beside is not known yet."""
    first, second = sorted((one.candidate_id, other.candidate_id))
    names = {"comparison_id": content_id("comparison", first, second), "prompt_id": prompt_id}
    return Comparison.model_construct(None, **names, first_id=first, second_id=second, order="ab", persona_ids=[*readers])


def own_readers(personas: pl.DataFrame, prompts: pl.DataFrame) -> dict[str, list[str]]:
    """Prompt -> the people of the training split with its trait value, for each prompt that belongs to one."""
    train, specific = personas.filter(pl.col("split") == "train"), prompts.drop_nulls("trait")
    fits, ids = matching(train, specific), train["persona_id"].to_list()
    return {prompt_id: [ids[row] for row in np.flatnonzero(fits[:, place])] for place, prompt_id in enumerate(specific["prompt_id"])}


def readers_of(recipe: Recipe, train: Sequence[str], prompt_id: str) -> list[str]:
    """The people of the training split who read the pairs of a prompt."""
    assert recipe.pilot, "a recipe without a pilot has no such stage"
    order = np.argsort(draw(recipe.seed, "pilot", keys(train), keys([prompt_id])), kind="stable")
    return sorted(train[place] for place in order[: recipe.pilot.personas])


def both_orders(plan: Sequence[Reading], ask: Ask) -> Said:
    """What was read in both orders."""
    shown: dict[tuple[str, str], dict[str, float]] = {}
    for (comparison, _, persona_id), read in zip(plan, ask(plan), strict=True):
        if not isinstance(read, str):
            shown.setdefault((comparison.comparison_id, persona_id), {})[comparison.order] = read[0]
    return {
        key: (round((odds["ab"] - odds["ba"]) / 2, 4), round((odds["ab"] + odds["ba"]) / 2, 4))
        for key, odds in shown.items()
        if len(odds) == len(ORDERS)
    }


def _qualities(prompt_id: str, answers: Sequence[Answer], general: Said) -> dict[str, float]:
    """Candidate -> general quality in log-odds, to 4 digits."""
    met = [(pair, found) for pair in circle(len(answers)) if (found := general.get(_key(prompt_id, answers, pair)))]
    # Answers stand by id, so the first of a pair is the one in order ab.
    first, second = [pair[0] for pair, _ in met], [pair[1] for pair, _ in met]
    values = informative.quality(first, second, [margin for _, (margin, _) in met], len(answers))
    return {answer.candidate_id: round(value, 4) for answer, value in zip(answers, values.tolist(), strict=True)}


def _key(prompt_id: str, answers: Sequence[Answer], pair: tuple[int, int]) -> tuple[str, str]:
    return pair_of(prompt_id, answers[pair[0]], answers[pair[1]], ()).comparison_id, NOBODY


def _above_floor(answers: Sequence[Answer], quality: Mapping[str, float], floor: float | None) -> tuple[list[Answer], list[Rejected]]:
    """(answers that stay, the others as rejected rows); the best two always stay."""
    if floor is None:
        return [*answers], []
    best = {answer.candidate_id for answer in sorted(answers, key=lambda answer: -quality[answer.candidate_id])[:2]}
    poor = [answer for answer in answers if quality[answer.candidate_id] < floor and answer.candidate_id not in best]
    detail = {answer.candidate_id: f"general quality {quality[answer.candidate_id]:.4f} in log-odds, floor {floor:g}" for answer in poor}
    return [answer for answer in answers if answer not in poor], [_refused("below_floor", *item) for item in detail.items()]


def _farthest(
    recipe: Recipe, answers: Sequence[Answer], quality: Mapping[str, float], vectors: Grid
) -> tuple[list[Answer], list[Rejected]]:
    """(the `keep` answers farthest apart, models and views balanced; the others as rejected rows)."""
    assert recipe.pilot
    keep = recipe.pilot.keep
    if keep is None or len(answers) <= keep:
        return [*answers], []
    ids = [answer.candidate_id for answer in answers]
    order = [answers[place] for place in np.argsort(draw(recipe.seed, "keep", keys(ids)), kind="stable")]
    if quality:
        order.insert(0, order.pop(int(np.argmax([quality[answer.candidate_id] for answer in order]))))
    rows = vectors[[answer.place for answer in order]]
    chosen = spread(rows, keep, *stratify([{"model": answer.model, "view": answer.view or ""} for answer in order], None, None, "pilot"))
    near = cosines(rows, rows[chosen])
    nearest = [(float(row.max()), order[chosen[int(row.argmax())]].candidate_id) for row in near]
    alike = [
        _refused("less_diverse", answer.candidate_id, f"cosine {nearest[place][0]:.4f} with {nearest[place][1]}, which stays")
        for place, answer in enumerate(order)
        if place not in chosen
    ]
    return sorted(order[place] for place in chosen), alike


def _refused(reason: str, candidate_id: str, detail: str) -> Rejected:
    return Rejected(stage="pilot", kind="check", reason=reason, row_id=candidate_id, detail=detail)


def _rows(
    pairs: Sequence[Comparison], said: Said, quality: Mapping[str, float], place: Mapping[str, int], vectors: Grid
) -> list[PilotPair]:
    """The rows of one prompt's pairs."""
    readers = [[who for who in pair.persona_ids if (pair.comparison_id, who) in said] for pair in pairs]
    read = [[said[pair.comparison_id, who] for who in some] for pair, some in zip(pairs, readers, strict=True)]
    margins, biases = ([[row[column] for row in rows] for rows in read] for column in (0, 1))
    measures = [measure(margins, biases).tolist() for measure in (informative.disagreement, informative.strength)]
    rows = []
    for row, (pair, *found) in enumerate(zip(pairs, *measures, strict=True)):
        disagreement, strength = (round(value, 4) if value == value else None for value in found)
        one, other = vectors[[place[pair.first_id]]], vectors[[place[pair.second_id]]]
        rows.append(
            PilotPair(
                comparison_id=pair.comparison_id,
                prompt_id=pair.prompt_id,
                first_id=pair.first_id,
                second_id=pair.second_id,
                distance=round(1 - float(cosines(one, other)[0, 0]), 4),
                gap=round(quality[pair.first_id] - quality[pair.second_id], 4) if quality else None,
                disagreement=disagreement,
                strength=strength,
                persona_ids=readers[row],
                margins=margins[row],
                biases=biases[row],
            )
        )
    return rows
