"""What the bounds on disagreement did: the rounds of answers, and personas who are too near to all others or too far from them.

    section(store, data, recipe, population.matrix(votes), environment)   ->  HTML, empty for a recipe without `agreement`

A persona beyond the bounds is listed and stays: an unusual taste is what a personal dataset is for. One that disagrees with everybody half
of the time may be read at random, and its share of consistent labels, shown beside it, tells the two apart.
"""

from importlib.resources import files

import jinja2
import numpy as np
import polars as pl
from markupsafe import Markup

from prefloom.flows.dataset import population, statistics, tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.agreement import Draft
from prefloom.schemas.recipe import Recipe

MOST_LISTED = 20


def section(store: Store, data: statistics.Dataset, recipe: Recipe, found: population.Agreement, environment: jinja2.Environment) -> Markup:
    """The section as HTML."""
    if recipe.agreement is None:
        return Markup()
    drafts = tables.read(store, "drafts/part-*.parquet", Draft, ["prompt_id", "round", "disagreement", "strength", "action", "stays"])
    users = far_off(data, found, recipe.agreement.users.low, recipe.agreement.users.high)
    template = (files("prefloom.flows.report") / "agreement.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        settings=recipe.agreement,
        rounds=rounds(drafts),
        stays=drafts.filter("stays"),
        outside=drafts.filter(pl.col("stays") & (pl.col("action") != "kept")).height,
        users=users.head(MOST_LISTED).to_dicts(),
        listed=users.height,
        compared=len(found.ids),
    )
    return Markup(text)  # noqa: S704 - rendered with everything in it escaped


def rounds(drafts: pl.DataFrame) -> list[dict[str, object]]:
    """For each round how many prompts it had, how many of them were inside the bounds, and how many have its answers."""
    rows = drafts.group_by("round").agg(
        pl.len().alias("prompts"),
        (pl.col("action") == "kept").sum().alias("inside"),
        pl.col("stays").sum(),
        pl.col("disagreement").mean().fill_null(float("nan")),
        pl.col("strength").mean().fill_null(float("nan")),
    )
    return rows.sort("round").to_dicts()


def far_off(data: statistics.Dataset, found: population.Agreement, low: float, high: float) -> pl.DataFrame:
    """persona_id, description, disagreement (mean with the others, by all labels) and consistency, of those outside the bounds."""
    apart = 1 - np.where(np.eye(len(found.ids), dtype=bool), np.nan, found.same)
    known = ~np.isnan(apart).all(axis=1)
    means = np.nanmean(apart[known], axis=1) if known.any() else np.array([])
    ids = [name for name, here in zip(found.ids, known, strict=True) if here]
    rows = pl.DataFrame({"persona_id": ids, "disagreement": means}, schema={"persona_id": pl.String, "disagreement": pl.Float64})
    steady = data.labels.group_by("persona_id").agg((pl.col("consistency") == 1).mean().alias("consistent"))
    outside = rows.filter(~pl.col("disagreement").round(4).is_between(low, high)).join(steady, on="persona_id", how="left")
    described = data.personas.select("persona_id", "description")
    return outside.join(described, on="persona_id", how="left").sort("disagreement", "persona_id", descending=[True, False])
