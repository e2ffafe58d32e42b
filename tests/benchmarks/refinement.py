"""What the refinement of descriptions buys, and whom it serves. Prints Markdown; some minutes.

    python -m tests.benchmarks.refinement [--people 16] [--rounds 8] [--seeds 5] [--stated 0.2 0.4 0.6 0.8 1.0]

Datasets are built up to `refinements` by the stages themselves, once for every seed, share of tastes that descriptions state, and source.
Then the same comparisons are judged with the description as it was before and as it is after:

labelled    those that the persona is asked about (no decision of the refinement is among them)
refined on  those that the refinement decided

entropy            of R = 16 verdicts sampled at temperature 1, 8 in each order, in nats, plus (kinds of verdict - 1) / 2R (Miller 1955)
one order          the same with all 16 in order ab: without what the judge's liking for the first answer adds
planted            share of labels (both orders averaged, no sampling) that say what the person's planted utility says
completed          the same against the completed person: the planted one, with every taste that the first description does not speak of and
                   an appended sentence does speak of replaced by what that sentence says

Intervals are 95 %, from resampling people within seeds together with the seeds. Differences are paired: the same people and comparisons.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from prefloom.flows.dataset.described import descriptions
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.protocol import Engine, Request
from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society import Society, reader, truth, utility
from prefloom.flows.engines.society.chance import Floats
from prefloom.flows.engines.society.people import STRENGTHS, block_scale
from prefloom.flows.steps.judgements import LETTERS, read_letters
from prefloom.prompts import load
from prefloom.schemas.ids import content_id
from prefloom.schemas.sources import SocietyPersonas
from tests.benchmarks.panel import CHARACTERS, VIEWS, ask
from tests.helpers import run_stage, table

SOURCES = ("random", "stereotype", "planted")
REPEATS = 16
PROMPTS, SAMPLED = 30, 6  # prompts of a dataset; labelled comparisons of a person that are sampled for their entropy
RESAMPLES = 1000
JUDGE = "good"


@dataclass(frozen=True)
class Pair:
    """A comparison as texts, and what it is worth to the person: planted and completed utility of a less that of b."""

    prompt: str
    a: str
    b: str
    planted: float
    completed: float


@dataclass(frozen=True)
class Found:
    """One person: [before, after] of each figure, and what its rounds came to."""

    seed: int
    entropy: tuple[float, float]
    one_order: tuple[float, float]
    inside: tuple[float, float]  # entropy on what was refined on
    planted: tuple[float, float]
    completed: tuple[float, float]
    rounds: int
    told: int  # rounds that the description decided
    appended: int
    contradictions: int
    holds: float


def entropy(count: int, of: int) -> float:
    """Entropy in nats of `count` against the rest of `of` verdicts, with Miller and Madow's correction."""
    shares = [share for share in (count / of, 1 - count / of) if share > 0]
    return -math.fsum(share * math.log(share) for share in shares) + (len(shares) - 1) / (2 * of)


def request(pair: Pair, person: str, swap: bool, repeat: int | None = None) -> Request:
    """One verdict: the likeliest, or a sample with a seed of its own."""
    first, second = (pair.b, pair.a) if swap else (pair.a, pair.b)
    messages = load("judge/pairwise").render(persona=person, prompt=pair.prompt, first=first, second=second)
    return Request(messages, 1, 0.0 if repeat is None else 1.0, repeat, LETTERS, repeat or 0)


def sampled(engine: Engine, pairs: Sequence[Pair], person: str, orders: int = 2) -> float:
    """Mean entropy of the verdicts on these pairs; nan without any. A verdict in words is no verdict."""
    plan = [(pair, repeat % orders == 1, repeat) for pair in pairs for repeat in range(REPEATS)]
    replies = iter(ask(engine, [request(pair, person, swap, repeat) for pair, swap, repeat in plan]))
    found = []
    for _ in pairs:
        said = [(next(replies).text, repeat % orders == 1) for repeat in range(REPEATS)]
        votes = [(text == "A") != swap for text, swap in said if text in LETTERS]
        if votes:
            found.append(entropy(sum(votes), len(votes)))
    return float(np.mean(found)) if found else math.nan


def labels(engine: Engine, pairs: Sequence[Pair], person: str) -> Floats:
    """Log-odds for a, both orders averaged; nan where one could not be read."""
    replies = ask(engine, [request(pair, person, swap) for pair in pairs for swap in (False, True)])
    reads = [read_letters(reply) for reply in replies]
    odds = np.array([math.nan if isinstance(read, str) else read[0] for read in reads]).reshape(-1, 2)
    return np.asarray((odds[:, 0] - odds[:, 1]) / 2)


def completed(weights: Floats, seed: str, refined: str) -> Floats:
    """The weights of somebody who likes what was said of them where nothing had been said before."""
    before, added = reader.read(seed), reader.read(refined[len(seed) :])
    new = (added.stated > 0) & (before.stated == 0)
    said = np.interp(added.levels, [-2, -1, 0, 1, 2], STRENGTHS) * block_scale(0.5) * math.sqrt(0.95)
    whole = weights.copy()
    whole[: len(PROPERTIES)] = np.where(new, said, weights[: len(PROPERTIES)])
    return whole


def build(root: Path, seed: int, people: int, rounds: int, stated: float, source: str) -> Run:
    """A dataset up to its refinements."""
    return run_stage(
        root,
        "refinements",
        seed=seed,
        models={name: {"engine": "society", "character": name} for name in CHARACTERS}
        | {"judge": {"engine": "society", "character": JUDGE}},
        personas=[{"source": "society", "count": people, "stated": stated}],
        prompts=[{"source": "seeds", "count": PROMPTS}],
        candidates={"source": "models", "models": [*CHARACTERS], "views": [*VIEWS]},
        refinement={"comparisons": rounds, "source": source},
    )


def measure(run: Run, seed: int, before: dict[str, tuple[float, float, float]]) -> list[Found]:
    """Every person of a run. `before` keeps what does not hang on the source: entropies with the first description."""
    (source,) = run.resolved.recipe.personas
    assert isinstance(source, SocietyPersonas)
    engine = Society(JUDGE)
    crowd = truth.planted(source, run.resolved.recipe.seed)
    weights = {content_id("persona", text): row for text, row in zip(crowd.descriptions, crowd.weights, strict=True)}
    texts = dict(table(run, "candidates").select("candidate_id", "text").iter_rows())
    worth = dict(zip(texts, utility.features([*texts.values()]), strict=True))
    prompts = dict(table(run, "prompts").select("prompt_id", "text").iter_rows())
    comparisons = {row["comparison_id"]: row for row in table(run, "comparisons").iter_rows(named=True)}
    asked = table(run, "comparisons").select("comparison_id", "persona_ids").explode("persona_ids").sort("comparison_id")
    rows, after = table(run, "refinements"), dict(descriptions(run.store).iter_rows())
    found = []
    for persona_id, first in table(run, "personas").select("persona_id", "description").iter_rows():
        whole = completed(weights[persona_id], first, after[persona_id])

        def pair(comparison_id: str, own: Floats = weights[persona_id], other: Floats = whole) -> Pair:
            row = comparisons[comparison_id]
            apart = worth[row["first_id"]] - worth[row["second_id"]]
            return Pair(
                prompts[row["prompt_id"]], texts[row["first_id"]], texts[row["second_id"]], float(own @ apart), float(other @ apart)
            )

        mine = rows.filter(pl.col("persona_id") == persona_id)
        outside = [pair(name) for name in asked.filter(pl.col("persona_ids") == persona_id)["comparison_id"]]
        inside = [pair(name) for name in mine["comparison_id"]]
        if persona_id not in before:
            some = outside[:SAMPLED]
            before[persona_id] = sampled(engine, some, first), sampled(engine, some, first, 1), sampled(engine, inside, first)
        said = [labels(engine, outside, text) for text in (first, after[persona_id])]
        right = {
            name: [
                float(np.nanmean(np.where(np.isnan(odds), np.nan, (odds > 0) == (np.array([getattr(p, name) for p in outside]) > 0))))
                for odds in said
            ]
            for name in ("planted", "completed")
        }
        found.append(
            Found(
                seed,
                (before[persona_id][0], sampled(engine, outside[:SAMPLED], after[persona_id])),
                (before[persona_id][1], sampled(engine, outside[:SAMPLED], after[persona_id], 1)),
                (before[persona_id][2], sampled(engine, inside, after[persona_id])),
                (right["planted"][0], right["planted"][1]),
                (right["completed"][0], right["completed"][1]),
                mine.height,
                int((mine["verdict"] != "cannot_tell").sum()),
                int(mine["appended"].sum()),
                int((mine["contradicts"].list.len() > 0).sum()),
                float(mine["holds"].cast(pl.Float64).sum()),
            )
        )
    return found


def interval(found: Sequence[Found], values: Floats) -> str:
    """`0.431 (0.402 to 0.460)`: the mean of one value for each person."""
    seeds = np.array([one.seed for one in found])
    groups = [values[(seeds == seed) & np.isfinite(values)] for seed in np.unique(seeds)]
    dice = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = [dice.choice(groups[g], len(groups[g])) for g in dice.integers(0, len(groups), len(groups))]
        means.append(np.concatenate(drawn).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{np.concatenate(groups).mean():.3f} ({low:.3f} to {high:.3f})"


def table_of(found: Sequence[Found], name: str) -> list[str]:
    """Before, after, and the paired difference."""
    values = np.array([getattr(one, name) for one in found])
    return [interval(found, column) for column in (values[:, 0], values[:, 1], values[:, 1] - values[:, 0])]


def report(cells: Mapping[tuple[float, str], Sequence[Found]]) -> None:
    """All figures as Markdown."""
    titles = {
        "entropy": "Entropy of the verdicts on labelled comparisons, nats",
        "one_order": "The same, all verdicts in one order",
        "inside": "Entropy of the verdicts on what was refined on, nats",
        "planted": "Labels that agree with the planted taste",
        "completed": "Labels that agree with the completed person",
    }
    for name, title in titles.items():
        print(f"\n{title}\n\n| stated | source | before | after | difference |\n|---|---|---|---|---|")
        for (stated, source), found in cells.items():
            print(f"| {stated:g} | {source} | " + " | ".join(table_of(found, name)) + " |")
    print("\nRounds\n\n| stated | source | told by the description | appended | contradictions | decisions that hold at the end |")
    print("|---|---|---|---|---|---|")
    for (stated, source), found in cells.items():
        rounds = sum(one.rounds for one in found)
        told, appended, odd, holds = (sum(getattr(one, key) for one in found) for key in ("told", "appended", "contradictions", "holds"))
        each = appended / len(found)
        print(f"| {stated:g} | {source} | {told / rounds:.1%} | {each:.2f} each | {odd / rounds:.1%} | {holds / rounds:.1%} |")


def main() -> None:
    """All shares of what is stated, all sources."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--stated", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.8, 1.0])
    given = parser.parse_args()
    cells: dict[tuple[float, str], list[Found]] = {}
    for seed in range(1, given.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for stated in given.stated:
                before: dict[str, tuple[float, float, float]] = {}
                for source in SOURCES:
                    began = time.perf_counter()
                    run = build(Path(folder), seed, given.people, given.rounds, stated, source)
                    cells.setdefault((stated, source), []).extend(measure(run, seed, before))
                    print(f"seed {seed}, stated {stated}, {source}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    report(cells)


if __name__ == "__main__":
    main()
