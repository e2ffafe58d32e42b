"""The controls before they are read: how many there are, how long, and which of them are asked anyway.

    expected_controls(run, uses, panel, answers)  ->  Expected(rows=9200, usage=Usage(calls=9100, …), left=Usage(calls=2600, …), bytes=…)

Their number is exact. A shuffled reading asks what `judgements` asks for the other persona, and a pilot that rates has asked for nobody
about the pairs that it let meet: both cost nothing again. Nothing is asked and nothing is written.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import polars as pl

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.protocol import Request
from prefloom.flows.steps import freshness
from prefloom.flows.steps.controls import Wanted, choose, readers, readings
from prefloom.flows.steps.forecast_answers import Answers
from prefloom.flows.steps.forecast_bytes import MOST_ROWS, table_bytes
from prefloom.flows.steps.forecast_pilot import priced
from prefloom.flows.steps.forecast_readings import Panel
from prefloom.flows.steps.judgements import Reading, asker
from prefloom.flows.steps.pilot import circle
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.controls import Control
from prefloom.schemas.ids import shard_of
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable
from prefloom.schemas.usage import Usage


@dataclass(frozen=True)
class Expected:
    """What `controls` will hold and ask."""

    rows: int = 0
    bytes: int = 0
    usage: Usage = field(default_factory=Usage)
    left: Usage = field(default_factory=Usage)


def expected_controls(run: Run, uses: freshness.Materials, panel: Panel, answers: Answers) -> Expected:
    """For the people, prompts and comparisons of a panel. A stage that is done leaves nothing to ask."""
    recipe = run.resolved.recipe
    if recipe.controls is None:
        return Expected()
    comparisons = [Comparison.model_construct(None, **row) for row in panel.comparisons.iter_rows(named=True)]
    splits = readers(panel.personas)
    plan = [*readings(recipe, comparisons, choose(recipe, panel.comparisons, splits), splits)]
    met = _met(recipe, answers)
    paid: dict[tuple[str, ...], Wanted] = {}
    free: dict[tuple[str, ...], Wanted] = {}
    for one in plan:
        shown = one.comparison
        pair = frozenset((shown.first_id, shown.second_id))
        elsewhere = pair in met if not one.read_as else one.read_as != one.persona_id and one.read_as in shown.persona_ids
        (free if elsewhere else paid)[shown.comparison_id, shown.order, one.template, one.read_as, str(one.repeat)] = one
    texts = dict(answers.rows.select("candidate_id", "text").iter_rows())
    described, tasks = (dict(rows.iter_rows()) for rows in (_texts(panel.personas, "description"), _texts(panel.prompts, "text")))
    request = asker(recipe, open_engine(run, recipe.judgements.model).votes, described, tasks, texts)

    def price(wanted: Iterable[Wanted], total: int) -> tuple[Usage, Usage]:
        return priced(run, uses, answers, total, ((one.comparison, partial(_asked, request, one)) for one in wanted))

    (asked, left), (again, _) = price(paid.values(), len(paid)), price(free.values(), len(free))
    done = freshness.fresh(run, stages.BY_NAME["controls"], uses)
    return Expected(len(plan), _bytes(plan, recipe), asked + again, Usage() if done else left)


def _asked(request: Callable[[Reading], Request], one: Wanted) -> Request:
    return replace(request((one.comparison, one.template, one.read_as)), repeat=one.repeat)


def _met(recipe: Recipe, answers: Answers) -> set[frozenset[str]]:
    """Pairs of answers about which the pilot asks for nobody."""
    found: set[frozenset[str]] = set()
    if recipe.pilot and recipe.pilot.rates:
        for ids in answers.rows.sort("candidate_id").group_by("prompt_id").agg("candidate_id")["candidate_id"]:
            found |= {frozenset((ids[i], ids[j])) for i, j in circle(len(ids))}
    return found


def _bytes(plan: list[Wanted], recipe: Recipe) -> int:
    """As if log-odds were drawn from a normal distribution."""
    some, dice = plan[:MOST_ROWS], np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "persona_id": [one.persona_id for one in some],
            "read_as": [one.read_as for one in some],
            "comparison_id": [one.comparison.comparison_id for one in some],
            "prompt_id": [one.comparison.prompt_id for one in some],
            "order": [one.comparison.order for one in some],
            "template": [portable(one.template) for one in some],
            "repeat": [one.repeat for one in some],
            "model": [recipe.judgements.model] * len(some),
            "log_odds": dice.normal(0, 1.5, len(some)).round(4),
            "mass": dice.uniform(0.9, 1, len(some)).round(4),
        },
        schema_overrides={"persona_id": pl.String, "read_as": pl.String, "repeat": pl.Int64},
    ).sort("comparison_id", "persona_id", "read_as", "order", "template", "repeat")
    parts = recipe.shards.prompts
    return round(table_bytes(Control, frame, shard_of(frame["prompt_id"], parts), parts, len(plan) / max(len(some), 1)))


def _texts(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    return rows.select(rows.columns[0], column)
