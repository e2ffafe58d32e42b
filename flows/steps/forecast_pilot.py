"""The pilot before it is asked: how many readings, how long, and pairs that stand for those that it will leave.

    expected_pilot(run, uses, personas, prompts, answers)  ->  Ahead(rows, usage=Usage(calls=7200, …), left=…, exact=True)

What is asked of whom is known beforehand; which answers stay, and what is made of their pairs, is not. `keep` answers by hash stand for
those farthest apart, and every pair is as good as the others. Nothing is asked and nothing is written.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.uses import GENERIC
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.protocol import Request
from prefloom.flows.steps import freshness
from prefloom.flows.steps.forecast_answers import Answers, evenly, length
from prefloom.flows.steps.judgements import NOBODY, Reading, asker, readings_of
from prefloom.flows.steps.pilot import Answer, circle, own_readers, pair_of, readers_of
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage

PROBED = 1024  # readings rendered to see how long they are and what the journal holds


@dataclass(frozen=True)
class Ahead:
    """What `pilot` will hold and ask, and how many of its readings `judgements` asks again."""

    rows: pl.DataFrame | None = None
    usage: Usage = field(default_factory=Usage)
    left: Usage = field(default_factory=Usage)
    exact: bool = True
    basis: tuple[str, ...] = ()

    def shared(self, comparisons: pl.DataFrame) -> int:
        """Readings of these comparisons that the pilot has made by then."""
        if self.rows is None:
            return 0
        asked = comparisons.select("comparison_id", "persona_ids").explode("persona_ids").drop_nulls()
        made = self.rows.select("comparison_id", "persona_ids").explode("persona_ids").drop_nulls()
        return 2 * asked.join(made, on=["comparison_id", "persona_ids"], how="semi").height


def expected_pilot(run: Run, uses: freshness.Materials, personas: pl.DataFrame, prompts: pl.DataFrame, answers: Answers) -> Ahead:
    """For rows of Persona and Prompt and the answers that are expected."""
    recipe, stage = run.resolved.recipe, stages.BY_NAME["pilot"]
    if recipe.pilot is None:
        return Ahead()
    if entry := freshness.fresh(run, stage, uses):
        return Ahead(tables.read(run.store, "pilot/part-*.parquet", PilotPair), entry.usage.get(recipe.judgements.model, Usage()))
    train, own = personas.filter(pl.col("split") == "train")["persona_id"].to_list(), own_readers(personas, prompts)
    meetings: list[Comparison] = []
    pairs: list[Comparison] = []
    for (prompt_id,), part in answers.rows.sort("prompt_id", "candidate_id").group_by("prompt_id", maintain_order=True):
        mine = [Answer(name, model, view, 0) for name, model, view in part.select("candidate_id", "model", "view").iter_rows()]
        meetings += [pair_of(str(prompt_id), mine[i], mine[j], [NOBODY]) for i, j in circle(len(mine) if recipe.pilot.rates else 0)]
        order = np.argsort(draw(recipe.seed, "keep", keys(answer.candidate_id for answer in mine)), kind="stable")
        kept = sorted(mine[place] for place in order[: recipe.pilot.keep])
        readers = readers_of(recipe, own.get(str(prompt_id), train), str(prompt_id))
        pairs += sorted((pair_of(str(prompt_id), a, b, readers) for a, b in combinations(kept, 2)), key=lambda pair: pair.comparison_id)
    usage, left = calls_of(run, uses, personas, prompts, answers, meetings, pairs)
    rows = [
        PilotPair(
            **pair.model_dump(include={"comparison_id", "prompt_id", "first_id", "second_id", "persona_ids"}),
            distance=1.0,
            gap=0.0 if recipe.pilot.rates else None,
            disagreement=None,
            strength=None,
            margins=[0.0] * len(pair.persona_ids),
            biases=[0.0] * len(pair.persona_ids),
        )
        for pair in pairs
    ]
    upper = recipe.pilot.floor is not None
    said = "the pilot: every answer is taken to reach the floor, so its readings are an upper bound; " if upper else "the pilot: "
    basis = f"{said}which pairs it will choose is not known, any stand for them; what it reads and judgements asks again is asked once"
    return Ahead(tables.frame(PilotPair, rows), usage, left, not upper and not answers.unknown, (basis,))


def calls_of(
    run: Run,
    uses: freshness.Materials,
    personas: pl.DataFrame,
    prompts: pl.DataFrame,
    answers: Answers,
    meetings: list[Comparison],
    pairs: list[Comparison],
) -> tuple[Usage, Usage]:
    """(all calls, those that the journal lacks)."""
    recipe = run.resolved.recipe
    total = 2 * sum(len(pair.persona_ids) for pair in (*meetings, *pairs))
    if not total:
        return Usage(), Usage()
    texts = dict(answers.rows.select("candidate_id", "text").iter_rows())
    described = dict(personas.select("persona_id", "description").iter_rows())
    tasks = dict(prompts.select("prompt_id", "text").iter_rows())
    request = asker(recipe, open_engine(run, recipe.judgements.model).votes, described, tasks, texts)
    plan = _plan(meetings, pairs, recipe.judgements.templates[0])
    return priced(run, uses, answers, total, ((reading[0], partial(request, reading)) for reading in plan))


def priced(
    run: Run, uses: freshness.Materials, answers: Answers, total: int, plan: Iterable[tuple[Comparison, Callable[[], Request]]]
) -> tuple[Usage, Usage]:
    """(`total` calls to the judge, those that the journal lacks), lengths and what is held by an even sample of the plan."""
    if not total:
        return Usage(), Usage()
    name, recipe = run.resolved.recipe.judgements.model, run.resolved.recipe
    texts = dict(answers.rows.select("candidate_id", "text").iter_rows())
    chosen = {*evenly(total, PROBED)}
    characters: list[float] = []
    asked: list[str] = []
    for place, (comparison, request) in enumerate(plan):
        if place in chosen:
            one = request()
            both = (comparison.first_id, comparison.second_id)
            characters.append(length(one) + sum(answers.characters[answer] - len(texts[answer]) for answer in both))
            asked.append(one.key(uses.models[name]) if not answers.unknown & {*both} else "")
    held = len(run.journal(uses.models[name]).glance().replies([key for key in asked if key]))
    per_token = (recipe.rates.get(name) or Rate()).characters_per_token
    tokens = sum(characters) / len(characters) / per_token
    left = round(total * (1 - held / len(asked)))
    return Usage(total, round(total * tokens), total), Usage(left, round(left * tokens), left)


def _plan(meetings: list[Comparison], pairs: list[Comparison], template: str) -> Iterator[Reading]:
    yield from readings_of(meetings, [GENERIC])
    yield from readings_of(pairs, [template])
