"""What scoring the answers will take, and who of a panel is asked at all: personas with weights cost no call.

expected_scores(recipe, prompts, answers)  ->  sizes of scores and standards, and reward -> calls on models (text scorers make none)
readers(panel)                             ->  the same panel with the comparisons of those alone whom a judge is asked about
"""

from typing import NamedTuple

import polars as pl

from prefloom.flows.steps.forecast_answers import Answers
from prefloom.flows.steps.forecast_bytes import Size
from prefloom.flows.steps.forecast_readings import Panel
from prefloom.schemas.recipe import Rate, Recipe
from prefloom.schemas.rewards import EndpointReward, TransformersReward
from prefloom.schemas.usage import Usage, Usages

_SCORE, _STANDARD, _FILE = 7.0, 60.0, 2500.0  # bytes of a row, compressed, and of what a file has beside its rows


class ExpectedScores(NamedTuple):
    """What `scores` and `standards` will hold, and take."""

    sizes: dict[str, Size]
    usage: Usages
    basis: tuple[str, ...]


def expected_scores(recipe: Recipe, prompts: pl.DataFrame, answers: Answers) -> ExpectedScores:
    """Every reward scores every answer once; the journal is not looked at."""
    if not recipe.rewards:
        return ExpectedScores({}, {}, ())
    asked = prompts.select("prompt_id", pl.col("text").str.len_chars().alias("asked"))
    around = int(answers.rows.select("prompt_id").join(asked, on="prompt_id")["asked"].sum())
    characters = around + sum(answers.characters[name] for name in answers.rows["candidate_id"])
    usage: Usages = {}
    for name, reward in recipe.rewards.items():
        if isinstance(reward, TransformersReward | EndpointReward):
            rate = recipe.rates.get(name, Rate())
            usage[name] = Usage(answers.rows.height, round(characters / rate.characters_per_token))
    rows, rewards, parts = answers.rows.height * len(recipe.rewards), len(recipe.rewards), recipe.shards.prompts
    sizes = {
        "scores": Size(rows, round(rows * _SCORE + parts * _FILE)),
        "standards": Size(rewards, round(rewards * _STANDARD + _FILE)),
    }
    basis = [f"{', '.join(usage)}: what the journal holds of their scores is not looked at"] if usage else []
    if recipe.conflict:
        basis.append(
            "comparisons: as many as there may be; how many are given up for the share of conflicts is known when answers are scored"
        )
    return ExpectedScores(sizes, usage, tuple(basis))


def readers(panel: Panel) -> Panel:
    """The panel with no persona among the asked who decides by weights."""
    judged = panel.personas.filter(pl.col("kind") == "judge")["persona_id"]
    if len(judged) == panel.personas.height:
        return panel
    asked = pl.col("persona_ids").list.eval(pl.element().filter(pl.element().is_in(judged.implode())))
    return Panel(panel.personas, panel.prompts, panel.comparisons.with_columns(asked))
