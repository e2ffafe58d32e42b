"""The rounds of answers before they are asked: how many calls at most, for nobody knows yet which prompts need more than one round.

    expected_drafts(run, uses, personas, prompts, answers)  ->  Drafted(rows=300, usage={"judge": Usage(calls=21600, …), …}, left=…)

Every prompt is taken to need all rounds, and every round to be as long as the first. Nothing is asked and nothing is written.
"""

from dataclasses import astuple, dataclass, field, replace

import polars as pl

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.described import read_by_judges
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps import freshness
from prefloom.flows.steps.drafts import enough, most_rounds, pairs_of, readers_of
from prefloom.flows.steps.forecast_answers import Answers
from prefloom.flows.steps.forecast_pilot import calls_of
from prefloom.schemas.agreement import Draft
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.usage import Usage, Usages, total

_ROW, _READING = 400.0, 24.0  # bytes of a round and of one of its readings, compressed


@dataclass(frozen=True)
class Drafted:
    """What `drafts` will hold and ask at most; without rows where a recipe has none, or where they are made."""

    rows: int | None = None
    bytes: float = 0.0
    usage: Usages = field(default_factory=dict)
    left: Usages = field(default_factory=dict)
    judge: Usage = field(default_factory=Usage)  # of what is left, the readings
    basis: tuple[str, ...] = ()

    def before(self, answers: Answers) -> Answers:
        """The answers as `candidates` finds them: what `drafts` asked is in the journal."""
        return answers if self.rows is None else replace(answers, left=dict.fromkeys(answers.left, Usage()))

    def with_rounds(self, answers: Answers) -> Answers:
        """The answers with the calls for all their rounds."""
        return (
            answers
            if self.rows is None
            else replace(answers, left=answers.left | {name: self.left[name] for name in answers.left if name in self.left})
        )


def rounds_known(run: Run, uses: freshness.Materials) -> dict[str, int]:
    """Prompt -> the round of its answers that stays, once `drafts` is made."""
    stage = stages.BY_NAME["drafts"]
    if not stage.wanted(run.resolved.recipe) or not freshness.fresh(run, stage, uses):
        return {}
    rows = tables.read(run.store, "drafts/part-*.parquet", Draft, ["prompt_id", "round", "stays"])
    return dict(rows.filter("stays").select("prompt_id", "round").iter_rows())


def expected_drafts(run: Run, uses: freshness.Materials, personas: pl.DataFrame, prompts: pl.DataFrame, answers: Answers) -> Drafted:
    """For rows of Persona and Prompt and the answers that are expected in the first round. InputError as in the stage itself."""
    recipe, stage = run.resolved.recipe, stages.BY_NAME["drafts"]
    if recipe.agreement is None or freshness.fresh(run, stage, uses):
        return Drafted()
    train = read_by_judges(personas).filter(pl.col("split") == "train")["persona_id"].to_list()
    enough(len(train))
    pairs: list[Comparison] = []
    for (prompt_id,), part in answers.rows.sort("prompt_id", "candidate_id").group_by("prompt_id", maintain_order=True):
        readers = readers_of(recipe, train, str(prompt_id))
        pairs += pairs_of(recipe, str(prompt_id), part["candidate_id"].to_list(), readers)
    judge, rounds = recipe.judgements.model, most_rounds(recipe)
    once, open_ = calls_of(run, uses, personas, prompts, answers, [], pairs)
    later = scaled(rounds - 1, answers.usage | {judge: answers.usage.get(judge, Usage()) + once})
    unread = open_ + scaled(rounds - 1, {judge: once})[judge]
    first = total([answers.usage, {judge: once}])
    characters = sum(answers.characters.values())
    fewest = sum(usage.calls for usage in first.values())
    basis = f"drafts: every prompt is taken to need all {rounds} rounds, an upper bound; one round is {fewest:,} calls"
    left = total([answers.left, {judge: open_}, later])
    if judge in answers.left:
        unread = Usage()  # a judge that also writes: its calls are all among those of the answers
    count = prompts.height * rounds
    size = count * _ROW + rounds * once.calls / 2 * _READING + (rounds - 1) * characters / 2
    return Drafted(count, size, total([first, later]), left, unread, (basis,))


def scaled(times: int, usages: Usages) -> Usages:
    """The same calls so many times."""
    return {name: Usage(*(times * count for count in astuple(usage))) for name, usage in usages.items()}
