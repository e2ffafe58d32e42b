"""The refinement before it is asked: how many rounds, and how many calls at most.

    expected_refinement(run, uses, panel, answers)  ->  Refining(rows=400, usage=Usage(calls=3200, …), left=…, exact=False)

Rounds are known beforehand. Calls hang on which descriptions cannot tell: what is said is what it takes if none can, so never too little.
Nothing is asked and nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.described import descriptions, read_by_judges
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.uses import refiner
from prefloom.flows.steps import freshness
from prefloom.flows.steps.forecast_answers import Answers, evenly
from prefloom.flows.steps.forecast_readings import Panel
from prefloom.flows.steps.judgements import INPUTS
from prefloom.flows.steps.refinements import Life, lives_of
from prefloom.prompts import expect_inputs
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage

_SAMPLE = 64  # requests rendered to see how long they are
_ROW = 220.0  # bytes of a row beside its description, compressed
_KEPT = 0.3  # bytes of a character of a description, which comes again in every round


@dataclass(frozen=True)
class Refining:
    """What `refinements` will hold and ask; the descriptions that readings are made with, where they are known."""

    personas: pl.DataFrame
    rows: int = 0
    bytes: int = 0
    usage: Usage = field(default_factory=Usage)
    left: Usage = field(default_factory=Usage)
    known: bool = True
    basis: tuple[str, ...] = ()


def most_calls(rounds: int) -> int:
    """Calls about one persona if its description never tells: two verdicts, a sentence, and this and all earlier comparisons again."""
    return sum(2 + 1 + 2 * number for number in range(1, rounds + 1))


def expected_refinement(run: Run, uses: freshness.Materials, panel: Panel, answers: Answers) -> Refining:
    """For the rows that are expected of the stages before it."""
    recipe, stage = run.resolved.recipe, stages.BY_NAME["refinements"]
    if recipe.refinement is None:
        return Refining(panel.personas)
    if entry := freshness.fresh(run, stage, uses):
        refined = panel.personas.drop("description").join(descriptions(run.store), on="persona_id", maintain_order="left")
        usage = entry.usage.get(refiner(recipe), Usage())
        return Refining(refined, entry.kept, sum(file.bytes for file in entry.files), usage)
    lives = lives_of(recipe, read_by_judges(panel.personas), panel.prompts, panel.comparisons)
    rounds = [len(life.comparisons) for life in lives]
    calls = sum(map(most_calls, rounds))
    rate = recipe.rates.get(refiner(recipe)) or Rate()
    prompt = round(calls * _characters(run, lives, panel, answers) / rate.characters_per_token)
    sentences = round(sum(rounds) * recipe.refinement.append.max_tokens)
    usage = Usage(calls, prompt, calls - sum(rounds) + sentences)
    texts = sum(len(life.description) * len(life.comparisons) for life in lives)
    size = round(_ROW * sum(rounds) + _KEPT * texts)
    basis = (
        "refinements: calls as if no description could decide, an upper bound",
        "judgements: the refined descriptions are not known yet; the personas' own stand for them, and no reading counts as journaled",
    )
    return Refining(panel.personas, sum(rounds), size, usage, usage, known=False, basis=basis)


def _characters(run: Run, lives: Sequence[Life], panel: Panel, answers: Answers) -> float:
    """Mean characters of a verdict's request, by a few of them."""
    settings = run.resolved.recipe.refinement
    asked = [(life, one) for life in lives for one in life.comparisons]
    if not settings or not asked:
        return 0.0
    template = expect_inputs(settings.template, INPUTS)
    tasks = dict(panel.prompts.select("prompt_id", "text").iter_rows())
    sizes = []
    for place in evenly(len(asked), _SAMPLE):
        life, one = asked[place]
        around = template.render(persona=life.description, prompt=tasks[one.prompt_id], first="", second="")
        sizes.append(sum(len(content) for _, content in around) + answers.characters[one.first_id] + answers.characters[one.second_id])
    return float(sum(sizes)) / len(sizes)
