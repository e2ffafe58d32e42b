"""Targets: how far everybody is asked, round by round, until every group has its preferences or has nothing left to be asked.

    target: {preferences: 5000, group: camp, budget: 20000}

Round 1 is what `comparisons` says. After each round the preferences of every group are counted (dataset/outcomes.py), and a group that
lacks some is asked further in the queues of its personas (queues.py): about as many labels as its own yield so far says, a standard
deviation more so that one round does, GROWTH times what it was asked before at most, never beyond `budget` or what there is. Each round
is one part of the table, written once. A later round asks all that an earlier one asked, so that the journal answers for what is not new,
and nothing that was kept is dropped because its group has more than its target.

The rows of a round say what the rounds before came to. What the last round came to is what the dataset's own tables say.
"""

import math

import numpy as np
import polars as pl

from prefloom.flows.dataset import outcomes, tables
from prefloom.flows.dataset.outcomes import Outcome
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport, merge
from prefloom.flows.steps.comparisons import queued
from prefloom.flows.steps.queues import Groups, Ints, Queues, places, start
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.target import Loss, Quota

GROWTH = 4  # times the labels of before that a group has after one more round, at most
SURE = 1.0  # standard deviations of the number kept that are asked beyond it
COLUMNS = ["persona_id", "split", "kind", "traits"]


def first_round(job: ShardJob) -> ShardReport:
    """The rounds that are planned already, or the first. The unit is the quota of one group in one round."""
    return merge(done) if (done := _planned(job)) else job.write(Quota, *_rows(_start(job.run)))


def next_round(job: ShardJob) -> ShardReport:
    """One round more, from the preferences that there are."""
    done = _planned(job)
    return merge([*done, job.at(len(done)).write(Quota, *_rows(further(job.run)))])


def _planned(job: ShardJob) -> list[ShardReport]:
    done: list[ShardReport] = []
    while report := job.at(len(done)).done():
        done.append(report)
    return done


def _rows(quotas: list[Quota]) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    return tables.frame(Quota, quotas), tables.frame(Rejected, []), len(quotas)


def _start(run: Run) -> list[Quota]:
    recipe, personas = run.resolved.recipe, tables.read(run.store, "personas/part-*.parquet", Persona, COLUMNS)
    assert recipe.target
    counted = outcomes.expect_groups(recipe.target, personas)
    turns = start(recipe.comparisons, tables.read(run.store, "prompts/part-*.parquet", Prompt, ["prompt_id"]).height)
    sizes = counted.group_by("group").agg(pl.col("persona_id").n_unique()).sort("group").iter_rows()
    return [
        Quota(round=1, group=group, personas=size, asked=0, kept=0, rejected=[], quota=None, turns=turns, more=0) for group, size in sizes
    ]


def further(run: Run) -> list[Quota]:
    """What the next round is to ask; nothing where every group has its target, or has been asked all that may be asked."""
    recipe = run.resolved.recipe
    if recipe.target is None:
        return []
    rows = outcomes.quotas(run.store)
    number = int(rows["round"].to_numpy().max())
    if number >= recipe.target.rounds:
        return []
    found = outcomes.outcomes(run.store, recipe)
    wanted = {group: one.asked + min(one.open, asking(one)) for group, one in found.items()}
    if all(wanted[group] == one.asked for group, one in found.items()):
        return []
    before = {row["group"]: row for row in rows.filter(pl.col("round") == number).iter_rows(named=True)}
    ends = reach(run, {group: wanted[group] for group, one in found.items() if wanted[group] > one.asked})
    return [
        Quota(
            round=number + 1,
            group=group,
            personas=before[group]["personas"],
            asked=one.asked,
            kept=one.kept,
            rejected=[Loss(reason=reason, labels=n) for reason, n in one.rejected.items()],
            quota=wanted[group],
            turns=ends[group][0] if group in ends else before[group]["turns"],
            more=ends[group][1] if group in ends else before[group]["more"],
        )
        for group, one in found.items()
    ]


def announce(planned: list[Quota]) -> str:
    """`round 2: 3 of 8 groups are asked for 4,210 labels more`."""
    more = [row.quota - row.asked for row in planned if row.quota and row.quota > row.asked]
    return f"round {planned[0].round}: {len(more):,} of {len(planned):,} groups are asked for {sum(more):,} labels more"


def asking(found: Outcome) -> int:
    """How many labels more a group should be asked for: 0 if it lacks none.

    asking(Outcome(target=1000, asked=500, kept=250, …))  ->  1539: 750 are missing, half are kept, and a little for chance
    """
    if not found.missing:
        return 0
    share = (found.kept + 0.5) / (found.asked + 1)
    wanted = found.missing / share + SURE * math.sqrt(found.missing * (1 - share)) / share
    return math.ceil(min(wanted, (GROWTH - 1) * found.asked) if found.asked else found.missing)


def reach(run: Run, wanted: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Group -> (turns, more): how far its queues are asked so that it is asked for so many labels in all, exactly."""
    store, recipe = run.store, run.resolved.recipe
    personas = tables.read(store, "personas/part-*.parquet", Persona, COLUMNS)
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split", "trait", "trait_value"])
    pairs = tables.read(store, "comparisons/part-*.parquet", Comparison, ["prompt_id"]).group_by("prompt_id").len()
    counts = prompts.join(pairs, on="prompt_id", how="left", maintain_order="left")["len"].fill_null(0).to_numpy().astype(np.int64)
    assert recipe.target
    groups = Groups.of(outcomes.members(recipe.target, personas), personas["persona_id"].to_list(), recipe.seed)
    queues = queued(recipe, personas, prompts)
    return {name: _reach(groups.names.index(name), groups, queues, counts, total) for name, total in wanted.items()}


def _reach(group: int, groups: Groups, queues: Queues, counts: Ints, wanted: int) -> tuple[int, int]:
    people = groups.personas(group)
    rank, size = queues.rank[people].astype(np.int64), queues.rank.shape[1]
    mine = queues.allowed[people] & (groups.codes[people][:, queues.halves] == group)

    def there(which: int) -> tuple[Ints, Ints]:
        """(persona, place) of the group's comparisons number `which`."""
        person, prompt = np.nonzero(mine & (counts > which)[None, :])
        return person, places(rank[person, prompt], np.full(1, which), queues.settings, size)

    found = [there(which) for which in range(int(counts.max(initial=0)))]
    person, place = (np.concatenate(columns) for columns in zip(*found, strict=True))
    through = np.cumsum(np.bincount(place, minlength=int(place.max()) + 1))
    turns = int(np.searchsorted(through, wanted, side="right"))
    left = wanted - (int(through[turns - 1]) if turns else 0)
    return turns, int(np.sort(person[place == turns])[left - 1]) + 1 if left else 0
