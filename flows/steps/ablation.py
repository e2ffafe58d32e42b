"""What each step of a recipe buys: labels held against planted truth, and how much of people's tastes can be learnt from what is kept.

    compare([look(run) for run in runs], untouched(runs[-1]))[0]["as_is"]
    ->  {"kept": 3412.0, "calls": 9600.0, "accuracy": 0.84, "recovery": 0.71}

Every variant is looked at three times: as it is; at a matched number of labels (the n surest of what it keeps, n being the least that any
variant keeps); at a matched number of judge calls (labels drawn by hash, until they have cost what the cheapest variant costs).

`accuracy` is the share of kept labels with the planted sign. `recovery` asks what a learner makes of them: a ridge regression of the signs
of a person's labels on differences of the 20 `held_out` scores, drawn to the same regression over all people, is right where it finds the
planted preference in pairs of answers to prompts of the test split. Those pairs come from the variant in which everything is off, and no
check has touched them. No label of such a prompt is learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.scorers import score
from prefloom.flows.steps import audit_measures as measures
from prefloom.flows.steps.audit import truth_of
from prefloom.flows.steps.audit_evidence import Bools, Evidence, Floats, Truth, differences, load
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.ids import draw, keys, unit
from prefloom.schemas.prompt import Prompt

PAIRS = 1500  # on which recovery is measured, at most
RIDGE, RIDGE_ALL = 10.0, 10.0
# Student's t, 97.5 %, for 1, 2, … degrees of freedom; beyond them the last is a little too wide.
STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
)
FIGURES = ("kept", "calls", "accuracy", "recovery")
Figures = dict[str, float]


@dataclass(frozen=True)
class Variant:
    """One finished dataset: its labels, what they are worth, and what its judge was asked."""

    evidence: Evidence
    target: Floats  # u(a) - u(b) of each label's person
    truth: Truth
    seen: Floats  # (texts, 20): held_out scores
    learns: Bools  # labels on prompts that are not of the test split
    calls: int


def look(run: Run) -> Variant:
    """Read a finished run. InputError if its people were not planted."""
    truth, evidence = truth_of(run), load(run.store)
    names = evidence.names
    tested = np.array([name in ("test_new_prompts", "test_new_both") for name in names.splits])
    learns = ~tested[evidence.split] if len(evidence.split) else np.zeros(0, dtype=bool)
    seen = score("held_out", names.texts).astype(np.float64)
    return Variant(evidence, differences(evidence, truth), truth, seen, learns, judge_calls(run))


def judge_calls(run: Run) -> int:
    """Calls to the judge that the dataset stands on, of all stages but the one that writes answers."""
    judge = run.resolved.recipe.judgements.model
    entries = [stages.entry(run.store, stage.name) for stage in stages.of(run.resolved.recipe) if stage.name != "candidates"]
    return sum(entry.usage[judge].calls for entry in entries if entry and judge in entry.usage)


@dataclass(frozen=True)
class Test:
    """Pairs of answers that no check has touched: their texts, and scores of first less second."""

    first: list[str]
    second: list[str]
    apart: Floats


def untouched(run: Run) -> Test:
    """Pairs of answers to one prompt of the test split, from a run in which nothing was filtered; at most PAIRS, by hash."""
    prompts = tables.read(run.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split"]).filter(pl.col("split") == "test")
    answers = tables.read(run.store, "candidates/part-*.parquet", Candidate, ["prompt_id", "candidate_id", "text"])
    pairs = []
    for _, group in answers.join(prompts, on="prompt_id", how="semi").sort("candidate_id").group_by("prompt_id", maintain_order=True):
        pairs += list(combinations(group.select("candidate_id", "text").rows(), 2))
    places = draw(0, "ablation", *(keys([pair[side][0] for pair in pairs]) for side in (0, 1)))
    some = [pairs[place] for place in np.argsort(places, kind="stable")[:PAIRS]]
    first, second = ([pair[side][1] for pair in some] for side in (0, 1))
    seen = score("held_out", first + second).astype(np.float64)
    return Test(first, second, seen[: len(first)] - seen[len(first) :])


def compare(variants: Sequence[Variant], test: Test) -> list[dict[str, Figures]]:
    """For each variant its figures `as_is`, at `matched_labels` and at `matched_calls`."""
    fewest, cheapest = min(int(v.evidence.kept.sum()) for v in variants), min(v.calls for v in variants)
    found = []
    for variant in variants:
        kept = variant.evidence.kept
        paid = kept & (_chances(variant.evidence) * variant.calls < cheapest)
        rows = {
            "as_is": (kept, variant.calls),
            "matched_labels": (surest(variant, fewest), variant.calls),
            "matched_calls": (paid, cheapest),
        }
        found.append({how: _figures(variant, mask, calls, test) for how, (mask, calls) in rows.items()})
    return found


def _chances(evidence: Evidence) -> Floats:
    names = evidence.names
    who, what = keys(names.personas)[evidence.persona], keys(names.comparisons)[evidence.comparison]
    found: Floats = unit(draw(0, "ablation/calls", who, what))
    return found


def surest(variant: Variant, count: int) -> Bools:
    """The `count` kept labels with the largest margins."""
    sure = np.where(variant.evidence.kept, np.abs(variant.evidence.margin), -1.0)
    mask = np.zeros(len(sure), dtype=bool)
    mask[np.argsort(-sure, kind="stable")[:count]] = True
    return mask & variant.evidence.kept


def _figures(variant: Variant, mask: Bools, calls: int, test: Test) -> Figures:
    known = mask & np.isfinite(variant.target)
    right = measures.score(variant.evidence.margin[known], variant.target[known])
    accuracy = float(right.mean()) if len(right) else float("nan")
    return {"kept": float(mask.sum()), "calls": float(calls), "accuracy": accuracy, "recovery": recovery(variant, mask, test)}


def recovery(variant: Variant, mask: Bools, test: Test) -> float:
    """Share of (person, untouched pair) on which what was learnt from the labels under `mask` agrees with the planted preference."""
    evidence, planted = variant.evidence, set(variant.truth.persona_ids)
    people = [place for place, name in enumerate(evidence.names.personas) if name in planted]
    rows = np.flatnonzero(mask & variant.learns & np.isin(evidence.persona, people))
    if not len(rows) or not test.first:
        return float("nan")
    apart = variant.seen[evidence.a[rows]] - variant.seen[evidence.b[rows]]
    weights = learn(apart, np.sign(evidence.margin[rows]), evidence.persona[rows], len(evidence.names.personas))[people]
    liked = variant.truth.utilities([evidence.names.personas[place] for place in people], test.first + test.second)
    target = liked[:, : len(test.first)] - liked[:, len(test.first) :]
    return float(measures.score(weights @ test.apart.T, target).mean())


def learn(apart: Floats, sign: Floats, person: Any, people: int) -> Floats:
    """(people, columns): the ridge regression of each person's signs on differences, drawn to that of all people together."""
    width = apart.shape[1]
    common = np.linalg.solve(apart.T @ apart + RIDGE_ALL * np.eye(width), apart.T @ sign)
    squares, products = np.zeros((people, width, width)), np.zeros((people, width))
    np.add.at(squares, person, apart[:, :, None] * apart[:, None, :])
    np.add.at(products, person, apart * (sign - apart @ common)[:, None])
    own = np.linalg.solve(squares + RIDGE * np.eye(width), products[:, :, None])[:, :, 0]
    return np.asarray(common + own, dtype=np.float64)


def summary(by_seed: Sequence[Sequence[dict[str, Figures]]], names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per variant from its figures by seed: means, and what the first variant has over it, with 95 % intervals over seeds."""
    rows = []
    for place, name in enumerate(names):
        row: dict[str, Any] = {"name": name}
        for how in by_seed[0][place]:
            mine, full = ([[seed[which][how][figure] for figure in FIGURES] for seed in by_seed] for which in (place, 0))
            values, over = np.array(mine), np.array(full) - np.array(mine)
            row[how] = {
                figure: {"value": float(values[:, i].mean()), "over": float(over[:, i].mean()), "half": _half(over[:, i])}
                for i, figure in enumerate(FIGURES)
            }
        rows.append(row)
    return rows


def _half(values: Floats) -> float:
    """Half the width of the 95 % interval of a mean."""
    n = len(values)
    return float(STUDENT[min(n - 2, len(STUDENT) - 1)] * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
