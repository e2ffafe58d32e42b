"""What each section of the report shows: numbers for the template, figures as SVG.

    people(data)["agreement"]   ->  Share(0.526, 0.522, 0.531, of=2524637)
    funnel(manifest)["rows"]    ->  [{"stage": "labels", "considered": 39298, "kept": 38995, "reasons": [("failure/unread", 303)], …}, …]

A section without data has empty figures and nan for its shares; the page leaves the one out and shows a dash for the other.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import yaml
from markupsafe import Markup

from prefloom.flows.dataset import population, statistics
from prefloom.flows.dataset.executions import Execution
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import merge
from prefloom.flows.dataset.stages import BY_NAME
from prefloom.flows.report import figures
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.recipe import Price, Recipe
from prefloom.schemas.usage import spend, tokens, total

# However much there is, the page stays a page.
MOST_VALUES = 8  # values of a trait
MOST_TRAITS = 12
MOST_TEMPLATES = 4  # with a figure each
MOST_KINDS = 12  # of answers
MOST_EXECUTIONS = 20  # the latest
REASONS = ("inconsistent", "undecided", "low_mass", "length_only")
Section = dict[str, Any]


def _svg(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - drawn by matplotlib, which escapes every label


def counts(found: Manifest, data: statistics.Dataset, votes: pl.DataFrame) -> Section:
    """The dataset in five figures."""
    kept = {name: entry.kept for name, entry in found.stages.items()}
    return kept | {
        "answers_per_prompt": data.candidates.height / max(data.prompts.height, 1),
        "disagreement": 1 - population.agreement(votes).value,
        "seen": data.labels.height,
        "of": data.of,
        "heard": data.labels["persona_id"].n_unique(),
    }


def funnel(found: Manifest) -> Section:
    """Kept and rejected in each stage, with reasons."""
    rows = []
    bars = []
    for name, entry in found.stages.items():
        failures = entry.failures()
        reasons = sorted(entry.rejected.items(), key=lambda item: -item[1])
        unit = BY_NAME[name].unit if name in BY_NAME else "row"
        rows.append({"stage": name, "unit": unit, "considered": entry.considered, "kept": entry.kept, "reasons": reasons})
        bars.append((figures.short(name), entry.kept, entry.considered - entry.kept - failures, failures))
    return {"rows": rows, "figure": _svg(figures.funnel(bars))}


def margins(data: statistics.Dataset, recipe: Recipe) -> Section:
    """How sure the labels are, by what became of them."""
    size, reason = data.labels["margin"].abs(), data.labels["reason"]
    parts = {"kept": size.filter(reason.is_null()).to_numpy()}
    for name in REASONS:
        if (values := size.filter(reason == name)).len():
            parts[name.replace("_", " ")] = values.to_numpy()
    limit = recipe.checks.labels.min_margin
    sure = (data.labels["probability"] - 0.5).abs() >= 0.4
    return {
        "figure": _svg(figures.stacked_histogram(parts, "margin: log-odds for the preferred answer", limit)),
        "limit": limit,
        "median": _known(size.median()),
        "sure": _known(sure.mean()),
    }


def orders(data: statistics.Dataset) -> Section:
    """Position bias and consistency, template by template."""
    pairs = statistics.both_orders(data)
    rows = [row | {"figure": ""} for row in statistics.templates(data).to_dicts()]
    for row in rows[:MOST_TEMPLATES]:
        mine = pairs.filter(pl.col("template") == row["template"])
        row["figure"] = _svg(figures.orders(mine["x"].to_numpy(), mine["y"].to_numpy(), row["mean_bias"]))
    return {"rows": rows}


def baselines(data: statistics.Dataset, votes: pl.DataFrame) -> Section:
    """Rules that know nothing about the person."""
    rows = {
        "the first shown wins": statistics.first_wins(data),
        "the longer wins": statistics.longer_wins(data),
        "the majority of the others": population.majority(votes),
    }
    return {"rows": rows, "figure": _svg(figures.intervals(rows))}


def people(data: statistics.Dataset, votes: pl.DataFrame, found: population.Agreement) -> Section:
    """Who the personas are and who disagrees with whom."""
    pairs, twins = found.pairs(), found.twins()
    dividing = population.dividing(found, data.personas)
    return {
        "splits": data.personas["split"].value_counts().sort("split").rows(),
        "sources": data.personas["source"].value_counts().sort("source").rows(),
        "traits": (traits := _traits(data.personas))[:MOST_TRAITS],
        "more_traits": max(0, len(traits) - MOST_TRAITS),
        "examples": data.personas["description"].gather_every(max(1, data.personas.height // 4)).head(4).to_list(),
        "compared": len(found.ids),
        "agreement": population.agreement(votes),
        "alpha": population.alpha(votes),
        "twin": _known(twins.mean() if len(twins) else None),
        "contested": population.contested(votes, 0.1),
        "torn": population.contested(votes, 0.3),
        "majority": population.majority(votes),
        "shares": list(
            zip(("the answers themselves", "who is asked", "noise between the orders"), population.variance_shares(data), strict=True)
        ),
        "matrix": _svg(figures.agreement(found)) if len(pairs) else "",
        "pairs": _svg(figures.agreements(pairs, twins)) if len(pairs) else "",
        "dividing": dividing.to_dicts(),
        "dividing_figure": _svg(figures.dumbbells(dividing.head(8))) if dividing.height else "",
    }


def _traits(personas: pl.DataFrame) -> list[Section]:
    """For each trait its commonest values with their counts."""
    values = _traits_of(personas).drop_nulls("name").group_by("name", "value").len().sort("len", "value", descending=[True, False])
    traits: list[Section] = []
    for (name,), part in values.group_by("name", maintain_order=True):
        top = part.head(MOST_VALUES).select("value", "len").rows()
        traits.append({"name": name, "values": top, "more": part.height - len(top), "most": part["len"].max()})
    return sorted(traits, key=lambda trait: str(trait["name"]))


def _traits_of(personas: pl.DataFrame) -> pl.DataFrame:
    return personas.select("persona_id", "traits").explode("traits").unnest("traits")


def answers(data: statistics.Dataset, found: population.Agreement) -> Section:
    """Which kinds of answer win, over all personas, from persona to persona, and by the traits that divide most."""
    rates = statistics.win_rates(data, statistics.kinds_of_answer(data))
    overall = _rate(rates.group_by("kind").agg(pl.col("wins", "games").sum())).sort("rate", "kind", descending=[True, False])
    every, overall = overall.height, overall.head(MOST_KINDS)
    # In figures a kind goes by its rank and its model, which the table beside them spells out.
    model = pl.col("kind").str.split(statistics.SEPARATOR).list.first()
    overall = overall.with_columns(pl.format("{} {}", pl.int_range(1, pl.len() + 1), model).alias("tag"))
    rates = rates.join(overall.select("kind", "tag"), on="kind")
    personal = _rate(rates)
    binomial = pl.col("rate") * (1 - pl.col("rate")) / pl.col("games")
    spread = personal.group_by("kind").agg(pl.col("rate").std().alias("spread"), binomial.mean().sqrt().alias("chance"))
    by_trait = []
    for trait in population.dividing(found, data.personas)["trait"].head(2):
        values = _traits_of(data.personas).filter(pl.col("name") == trait)
        common = values["value"].value_counts(sort=True).sort("count", "value", descending=[True, False])["value"].head(10)
        named = rates.join(values.filter(pl.col("value").is_in(common.to_list())), on="persona_id")
        cells = _rate(named.group_by("value", "tag").agg(pl.col("wins", "games").sum())).sort("value", "tag")
        if cells.height:
            by_trait.append((trait, _svg(figures.heat(cells, "value", "tag", "rate"))))
    return {
        "every": every,
        "rows": overall.join(spread, on="kind", how="left", maintain_order="left").to_dicts(),
        "figure": _svg(figures.strips(personal.select("rate", pl.col("tag").alias("kind")))) if personal.height else "",
        "by_trait": by_trait,
    }


def _rate(wins: pl.DataFrame) -> pl.DataFrame:
    """Wins of games as `rate`, where there are enough games for one to mean something."""
    return wins.filter(pl.col("games") >= population.FEWEST_SHARED).with_columns((pl.col("wins") / pl.col("games")).alias("rate"))


def usage(found: Manifest, prices: Mapping[str, Price], executions: Sequence[Execution]) -> Section:
    """Calls, tokens and cost: what the rows stand on, and what each execution did."""
    everything = total(entry.usage for entry in found.stages.values())
    runs, prefill = [], []
    for entry in executions[-MOST_EXECUTIONS:]:
        work = merge(list(entry.stages.values()))
        seconds = sum(stage.ended - stage.started for stage in entry.stages.values())
        prefill += [
            {"entry": entry, "stage": stage, "model": model, "prefill": counted}
            for stage, models in entry.prefill.items()
            for model, counted in models.items()
        ]
        runs.append({"entry": entry, "asked": work.asked, "from_journal": work.from_journal, "seconds": seconds})
    return {
        "rows": [
            {"stage": name, "model": model, "used": used, "cost": spend({model: used}, prices)}
            for name, entry in found.stages.items()
            for model, used in entry.usage.items()
        ],
        "calls": sum(used.calls for used in everything.values()),
        "tokens": tokens(everything),
        "unmetered": sum(used.unmetered for used in everything.values()),
        "cost": spend(everything, prices),
        "unpriced": [model for model in everything if model not in prices] if prices else [],
        "executions": runs,
        "prefill": prefill,
    }


def provenance(folder: str, found: Manifest, executions: Sequence[Execution]) -> Section:
    """Where the dataset comes from and how to make it again."""
    return {
        "command": executions[-1].command if executions else None,
        "again": shlex.join(["prefloom", "build", f"{folder}/recipe.resolved.yaml", "--out", Run(folder).beside()]),
        "files": len(found.files),
        "bytes": sum(file.bytes for file in found.files),
        "parents": found.parents,
        "models": sorted(found.models.items()),
        "probes": sorted((name, probe.describe()) for name, probe in found.probes.items()),
        "templates": sorted(found.templates.items()),
        "versions": sorted(found.versions.items()),
        "recipe": yaml.safe_dump(found.recipe, sort_keys=False, allow_unicode=True, width=100),
    }


def _known(value: Any) -> float:
    return float("nan") if value is None else float(value)
