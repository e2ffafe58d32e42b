"""What became of the groups that a recipe has a target for: the rounds, what was kept of what was asked, and what ate the rest.

section(store, recipe, environment)   ->  HTML, empty for a recipe without `target`
"""

from importlib.resources import files

import jinja2
import polars as pl
from markupsafe import Markup

from prefloom.flows.dataset import outcomes
from prefloom.flows.dataset.store import Store
from prefloom.schemas.recipe import Recipe

MOST_LISTED = 40  # groups, those that lack most first


def section(store: Store, recipe: Recipe, environment: jinja2.Environment) -> Markup:
    """The section as HTML."""
    if recipe.target is None:
        return Markup()
    quotas, found = outcomes.quotas(store), outcomes.outcomes(store, recipe).values()
    before = {(row["group"], row["round"] - 1): (row["asked"], row["kept"]) for row in quotas.iter_rows(named=True)}
    last = int(quotas["round"].to_numpy().max())
    listed = sorted(found, key=lambda one: (-one.missing, one.group))[:MOST_LISTED]
    by_round = quotas.filter(pl.col("round") > 1).group_by("round").agg(pl.col("asked", "kept").sum()).sort("round").rows()
    template = (files("prefloom.flows.report") / "targets.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        target=recipe.target,
        groups=[(one, [before[one.group, number] for number in range(1, last)]) for one in listed],
        more=len(found) - len(listed),
        met=sum(not one.missing for one in found),
        of=len(found),
        rounds=[(asked, kept) for _, asked, kept in by_round] + [(sum(one.asked for one in found), sum(one.kept for one in found))],
    )
    return Markup(text)  # noqa: S704 - rendered with everything in it escaped
