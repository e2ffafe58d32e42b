"""What a recipe with a target may come to: what `comparisons` says at least, every group's budget at most.

known_queues(run, uses, personas, prompts)   ->  how far everybody is asked in the rounds that are on disk, or None
ceiling(recipe, panel, readings.usage)       ->  Ceiling(groups=3, labels=400, most=7300, further={"judge": Usage(calls=13800, …)})
"""

from dataclasses import dataclass

import polars as pl

from prefloom.flows.dataset import outcomes, stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps import freshness
from prefloom.flows.steps.comparisons import queued
from prefloom.flows.steps.forecast_readings import Panel
from prefloom.flows.steps.queues import Queues
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.usage import Usage, Usages


@dataclass(frozen=True)
class Ceiling:
    """Labels that the rows of a forecast stand for, labels if every group is asked for all it may, and the calls that are between them."""

    groups: int
    labels: int
    most: int
    further: Usages

    def basis(self) -> str:
        """What `plan` says of it."""
        groups = f"{self.groups:,} group" + "s" * (self.groups > 1)
        return f"target: rows are of {self.labels:,} labels asked for; {groups} may be asked for {self.most - self.labels:,} more"


def known_queues(run: Run, uses: freshness.Materials, personas: pl.DataFrame, prompts: pl.DataFrame) -> Queues | None:
    """The queues of a run whose rounds have begun, as far as they are planned; None where they have not, or for no target."""
    recipe = run.resolved.recipe
    if recipe.target is None or not freshness.fresh(run, stages.BY_NAME["targets"], uses):
        return None
    return queued(recipe, personas, prompts, outcomes.quotas(run.store))


def ceiling(recipe: Recipe, panel: Panel, readings: Usage) -> Ceiling | None:
    """From who is asked about what in the first round, or by now, and what that takes; None for a recipe without a target."""
    if recipe.target is None:
        return None
    counted = outcomes.expect_groups(recipe.target, panel.personas)
    there = outcomes.supply(counted, panel.personas, panel.prompts, panel.comparisons)
    halves = panel.prompts.select("prompt_id", pl.col("split").alias("prompt_split"))
    asked = (
        panel.comparisons.join(halves, on="prompt_id").select("prompt_split", persona_id="persona_ids").explode("persona_id").drop_nulls()
    )
    so_far = dict(asked.join(counted, on=["persona_id", "prompt_split"]).group_by("group").len().iter_rows())
    groups = counted["group"].unique().to_list()
    more = sum(max(0, min(recipe.target.budget, there.get(group, 0)) - so_far.get(group, 0)) for group in groups)
    each = more / max(asked.height, 1)
    counts = (readings.calls, readings.prompt_tokens, readings.completion_tokens, readings.unmetered, readings.cached_tokens)
    further = {recipe.judgements.model: Usage(*(round(each * count) for count in counts))} if readings.calls else {}
    return Ceiling(len(groups), asked.height, asked.height + more, further)
