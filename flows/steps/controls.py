"""Controls: readings that no label is made of, by which one can see whether the labels are about their personas.

    controls: {generic: true, repeats: 0.05, shuffled: 0.05, least: 200}

generic    every comparison in both orders for nobody in particular (judge/generic): `p_generic`
repeats    some (persona, comparison) read once more in all templates and both orders, with repeat index 1
shuffled   some read as if they were another persona's: its description, nothing else changed

Both kinds take the same (persona, comparison), those with the lowest hash, as far as their shares go: what a shuffled persona changes
stands beside what asking again changes. The other persona is drawn anew for each, by hash: of those who are asked about the same comparison
and are in the same split, or else of those who are asked about it, or else of the split, or of all. A judge sees rendered messages only, so
what a shuffled reading asks is as a rule what `judgements` asked for that other persona: the journal has the answer, and it costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.uses import GENERIC
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import Meter, asking
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.steps.judgements import CHUNK, CHUNK_CHARACTERS, NOBODY, asker, compared, failure, read_letters
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.controls import Control, Controls
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

Chosen = Mapping[str, Sequence[str]]  # comparison -> personas, by the lowest hash


class Wanted(NamedTuple):
    """One control reading: the comparison as shown, the template, for whom, as whom, and which repetition."""

    comparison: Comparison
    template: str
    persona_id: str
    read_as: str
    repeat: int = 0


def read_controls(job: ShardJob) -> ShardReport:
    """Read the controls of this shard's comparisons, sorted by comparison, persona, whose description was shown, order, template."""
    if done := job.done():
        return done
    run, recipe = job.run, job.run.resolved.recipe
    comparisons, prompts, answers = compared(job)
    splits = readers(tables.read(run.store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind"]))
    asked = tables.read(run.store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "persona_ids"])
    plan = [*readings(recipe, comparisons, choose(recipe, asked, splits), splits)]
    engine = open_engine(run, recipe.judgements.model)
    request = asker(recipe, engine.votes, dict(descriptions(run.store).iter_rows()), prompts, answers)
    meter = Meter(job, planned=len(plan))
    found: list[tuple[str | int | float, ...]] = []
    failures: list[Rejected] = []
    with asking(engine, run, list(prompts)) as session:
        meter.follow(recipe.judgements.model, session)
        for some in _batches(plan, answers):
            requests = [replace(request((one.comparison, one.template, one.read_as)), repeat=one.repeat) for one in some]
            replies = session.ask(requests, [one.comparison.prompt_id for one in some], _failed if job.retry_failed else None)
            for one, reply in zip(some, replies, strict=True):
                if isinstance(read := read_letters(reply), str):
                    failures.append(_lost(one, read, reply))
                    continue
                shown = (one.comparison.comparison_id, one.comparison.prompt_id, one.comparison.order)
                found.append((one.persona_id, one.read_as, *shown, portable(one.template), one.repeat, recipe.judgements.model, *read))
            meter.sorted_out(len(found), len(failures))
    frame = pl.DataFrame(found, schema=list(Control.model_fields), orient="row") if found else tables.frame(Control, [])
    frame = frame.sort("comparison_id", "persona_id", "read_as", "order", "template", "repeat")
    return meter.billed(job.write(Control, frame, tables.frame(Rejected, failures), considered=len(plan), usage=meter.usage()))


def readers(personas: pl.DataFrame) -> dict[str, str]:
    """Persona -> split, of those whom a judge reads; the others decide by weights, and a control would ask them nothing."""
    return dict(personas.filter(pl.col("kind") == "judge").select("persona_id", "split").iter_rows())


def choose(recipe: Recipe, asked: pl.DataFrame, splits: Mapping[str, str]) -> tuple[Chosen, Chosen]:
    """(whom to read once more, whom to shuffle) per comparison, from comparison_id and persona_ids of all comparisons.

    `splits` has the personas whom a judge reads; nobody else is chosen.
    """
    controls = recipe.controls or Controls()
    pairs = asked.select("comparison_id", "persona_ids").explode("persona_ids").drop_nulls().rename({"persona_ids": "persona_id"})
    pairs = pairs.filter(pl.col("persona_id").is_in(list(splits)))
    order = draw(recipe.seed, "controls", keys(pairs["persona_id"]), keys(pairs["comparison_id"]))
    alone = pairs["persona_id"].n_unique() < 2  # there is nobody else to be read as
    return _lowest(pairs, order, controls.count(controls.repeats, len(order))), _lowest(
        pairs, order, 0 if alone else controls.count(controls.shuffled, len(order))
    )


def _lowest(pairs: pl.DataFrame, order: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], count: int) -> Chosen:
    if not count:
        return {}
    some = pairs.filter(pl.Series(order <= np.partition(order, count - 1)[count - 1])).sort("comparison_id", "persona_id")
    return dict(some.group_by("comparison_id", maintain_order=True).agg("persona_id").iter_rows())


def readings(
    recipe: Recipe, comparisons: Sequence[Comparison], chosen: tuple[Chosen, Chosen], splits: Mapping[str, str]
) -> Iterator[Wanted]:
    """Every control reading of these comparisons, grouped by comparison, order and template."""
    again, shuffled = chosen
    generic = bool(recipe.controls and recipe.controls.generic)
    for comparison in comparisons:
        repeated = [(who, who, 1) for who in again.get(comparison.comparison_id, ())]
        exchanged = [(who, other(recipe.seed, who, comparison, splits), 0) for who in shuffled.get(comparison.comparison_id, ())]
        for shown in (comparison, comparison.swap()):
            if generic:
                yield Wanted(shown, GENERIC, NOBODY, NOBODY)
            for template in recipe.judgements.templates:
                for who, read_as, repeat in (*repeated, *exchanged):
                    yield Wanted(shown, template, who, read_as, repeat)


def other(seed: int, persona_id: str, comparison: Comparison, splits: Mapping[str, str]) -> str:
    """Whose description stands in for this persona's on this comparison; never its own."""
    mine = splits[persona_id]
    readers = [who for who in comparison.persona_ids if who != persona_id and who in splits]
    near = [who for who in readers if splits[who] == mine] or readers
    among = near or [who for who in splits if who != persona_id and splits[who] == mine] or [who for who in splits if who != persona_id]
    place = draw(seed, "shuffled", keys([persona_id]), keys([comparison.comparison_id]))[0]
    return sorted(among)[int(place % np.uint64(len(among)))]


def _batches(plan: Sequence[Wanted], answers: Mapping[str, str]) -> Iterator[list[Wanted]]:
    """So many readings at a time that neither their number nor their texts fill the memory."""
    size = np.array([len(answers[one.comparison.first_id]) + len(answers[one.comparison.second_id]) for one in plan], dtype=np.int64)
    part = np.maximum(np.arange(len(plan)) // CHUNK, np.cumsum(size) // CHUNK_CHARACTERS)
    for rows in np.split(np.arange(len(plan)), np.flatnonzero(np.diff(part)) + 1):
        yield [plan[row] for row in rows]


def _failed(reply: Reply) -> bool:
    return isinstance(read_letters(reply), str)


def _lost(one: Wanted, reason: str, reply: Reply) -> Rejected:
    row = failure("controls", (one.comparison, one.template, one.persona_id), reason, reply)
    kind = "nobody" if not one.read_as else f"read as {one.read_as}" if one.read_as != one.persona_id else f"repeat {one.repeat}"
    return row.model_copy(update={"detail": f"{kind}, {row.detail}"[:500]})
