"""What it takes until every group has its preferences: asking on where some are missing, or asking everybody more. Prints Markdown.

    python -m tests.benchmarks.targets                three kinds of group, 3 seeds: about six minutes on two cores
    python -m tests.benchmarks.targets --seeds 1      a small one

after round n    labels asked for and preferences kept, all groups together; least: the group with the fewest
target           asked on until each group has its number          everybody more  the same recipe without a target, at the smallest
                 prompts_per_persona at which every group has it: what one would do by hand, had one known that number in advance
asked            labels of all splits; each costs two calls of the judge, and none is asked for twice
least, most      preferences of the group with the fewest and with the most      right  share of them that the planted tastes agree with
short            a build whose budget is four thirds of the target: what is missing, and what the build says of the worst group

Figures are means over seeds, with the least and the largest; `2 of 3`: with the third seed no number of prompts gives every group enough.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import outcomes
from prefloom.flows.dataset.run import Run
from prefloom.schemas.target import Target
from tests.benchmarks.agreement import accuracy
from tests.helpers import run_rounds, run_stage, table

PEOPLE, PROMPTS, PAIRS, EACH, FIRST = 80, 100, 3, 2, 10
WANTED = {"work": 180, "persona": 50, "tone": 450}  # the last one of a grid, whose people have no planted tastes


def recipe(group: str, seed: int) -> dict[str, Any]:
    """Few are asked at first: 20 comparisons each."""
    writers = ("terse", "friendly")
    return {
        "seed": seed,
        "models": {name: {"engine": "society", "character": name} for name in (*writers, "good")},
        "personas": [{"source": "grid" if group == "tone" else "society", "count": PEOPLE}],
        "prompts": [{"source": "seeds", "count": PROMPTS}],
        "candidates": {"source": "models", "models": [*writers], "samples": 2},
        "comparisons": {"per_prompt": PAIRS, "per_persona_prompt": EACH, "prompts_per_persona": FIRST},
        "judgements": {"model": "good"},
        "checks": {"labels": {"min_margin": 1.0}},
    }


def with_target(given: dict[str, Any], group: str, number: int, budget: int) -> dict[str, Any]:
    """The recipe with a target."""
    return given | {"target": {"preferences": number, "group": group, "budget": budget}}


def everybody_more(run: Run, root: Path, given: dict[str, Any], group: str, number: int) -> tuple[Run, int] | None:
    """The build with the smallest number of prompts for everybody at which every group has enough; None if all are too few.

    It is looked for near what the yields of `run`, which has a target, say.
    """
    first = kept(run_stage(root, "preferences", **given), group, number)
    ends = kept(run, group, number)
    guess = max(FIRST * number * one.asked / max(one.kept, 1) / max(first[name].asked, 1) for name, one in ends.items())
    best: tuple[Run, int] | None = None
    low, high, middle = FIRST, PROMPTS + 1, min(PROMPTS, round(guess))
    while low < high:
        more = run_stage(root, "preferences", **given | {"comparisons": given["comparisons"] | {"prompts_per_persona": middle}})
        if min(one.kept for one in kept(more, group, number).values()) >= number:
            best, high = (more, middle), middle
        else:
            low = middle + 1
        middle = (low + high) // 2
    return best


def kept(run: Run, group: str, number: int) -> dict[str, outcomes.Outcome]:
    """What a build, with a target or without, has of each group."""
    made = run.resolved.recipe
    return outcomes.outcomes(run.store, made.model_copy(update={"target": Target(preferences=number, group=group, budget=1)}))


def figures(run: Run, group: str, number: int) -> dict[str, float]:
    """The columns of one build."""
    found = [one.kept for one in kept(run, group, number).values()]
    ids = ["persona_id", "comparison_id"]
    some = table(run, "labels").join(table(run, "preferences").select(ids), on=ids, how="semi")
    right = float("nan") if group == "tone" else accuracy(run, some, table(run, "personas"), PEOPLE)[0]
    asked = table(run, "comparisons")["persona_ids"].list.len().sum()
    return {"asked": float(asked), "least": min(found), "most": max(found), "right": right}


def compare(group: str, seeds: Sequence[int], folder: Path) -> list[str]:
    """Rows of the tables for one kind of group."""
    number, told = WANTED[group], list[str]()
    rows: dict[str, list[dict[str, float]]] = {"first helping": [], "target": [], "everybody more": []}
    for seed in seeds:
        root, given = folder / group / str(seed), recipe(group, seed)
        rows["first helping"].append(figures(run_stage(root, "preferences", **given), group, number))
        run = run_rounds(root, **with_target(given, group, number, 20 * number))
        rows["target"].append(figures(run, group, number))
        if naive := everybody_more(run, root, given, group, number):
            rows["everybody more"].append(figures(naive[0], group, number) | {"prompts": naive[1]})
        if seed == seeds[0]:
            told = [*by_round(run), short(root, with_target(given, group, number, 4 * number // 3), number)]
    lines = []
    for name, found in rows.items():
        means = [spread([one[key] for one in found], 3 if key == "right" else 0) for key in ("asked", "least", "most", "right") if found]
        prompts = f" ({np.mean([one['prompts'] for one in found]):.0f} prompts each)" if found and "prompts" in found[0] else ""
        lines.append(f"| {group}, {number} | {name}{prompts}, {len(found)} of {len(seeds)} | " + " | ".join(means) + " |")
    return [*lines, "", *told, ""]


def spread(values: Sequence[float], digits: int) -> str:
    """`6,191 (5,980 to 6,455)`: the mean, the least and the largest."""
    return f"{np.mean(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def by_round(run: Run) -> list[str]:
    """Round by round: asked, kept, and the group with the fewest."""
    rows, ends = table(run, "targets"), outcomes.outcomes(run.store, run.resolved.recipe).values()
    later = rows.filter(pl.col("round") > 1).group_by("round").agg(pl.col("asked").sum(), pl.col("kept").sum(), least=pl.col("kept").min())
    found = [row[1:] for row in later.sort("round").iter_rows()]
    found.append((sum(one.asked for one in ends), sum(one.kept for one in ends), min(one.kept for one in ends)))
    return [f"- round {place}: {asked:,} asked, {number:,} kept, least {least:,}" for place, (asked, number, least) in enumerate(found, 1)]


def short(root: Path, given: dict[str, Any], number: int) -> str:
    """With too small a budget: how many groups lack how much, and what is said of the worst."""
    run = run_rounds(root, **given)
    lacking = outcomes.lacking(outcomes.outcomes(run.store, run.resolved.recipe))
    missing = sum(one.missing for one in lacking)
    said = lacking[0].describe() if lacking else "none"
    return f"- short: {len(lacking)} groups lack {missing:,} of their {number:,}; the worst: `{said}`"


def main() -> None:
    """All kinds of group."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for group in WANTED:
            print("| group, target | | asked | least | most | right |\n|---|---|---|---|---|---|")
            print("\n".join(compare(group, range(1, given.seeds + 1), Path(folder))), flush=True)


if __name__ == "__main__":
    main()
