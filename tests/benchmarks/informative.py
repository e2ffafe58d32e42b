"""What it buys to ask about informative pairs: planted tastes learnt from as many judge calls, and population figures. Prints Markdown.

    python -m tests.benchmarks.informative                            minutes on 2 cores
    python -m tests.benchmarks.informative --seeds 11 12 --people 80  a look

Nine answers to each prompt that differ in characters and views, or twelve that differ in samples too, embedded by the default embedder.
Every person is asked about one pair of each of 15 of 60 prompts; where the calls of a pilot are counted, labels worth as many calls are
taken away again, by chance: a pilot costs the same for few people and for many, so its share is that of so many people. A person's
model is a ridge regression of the signs of their labels on differences of features; it is right where it finds the planted preference
in pairs of held-out prompts, drawn by chance, the same for all arms. Society, prompts and split differ from seed to seed.
Intervals are 95 %, by Student's t over the seeds of paired differences.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.diversity.grid import Grid, on_grid
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.scorers import score
from prefloom.flows.engines.society import Society, told
from prefloom.flows.engines.society.judge import Asked, Judge, profile
from prefloom.flows.engines.society.people import People, plant
from prefloom.flows.engines.society.utility import features
from prefloom.flows.steps.comparisons import choose, worth
from prefloom.flows.steps.judgements import Reading
from prefloom.flows.steps.pilot import answers_of, look
from prefloom.prompts import load
from prefloom.schemas.embedder import LocalEmbedder
from prefloom.schemas.ids import content_id
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.recipe import Recipe
from tests.benchmarks.informative_population import bias, figures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LIST, PROSE = "a numbered list of steps, formal", "flowing prose with examples and some humour"
POOLS: dict[str, tuple[tuple[str, ...], tuple[str | None, ...], int]] = {  # characters, views, samples of each
    "views": (("terse", "friendly", "scholar"), (LIST, PROSE, None), 1),
    "samples": (("terse", "friendly"), (LIST, None), 3),
}
PRESETS, JUDGES, PHI = ("fspo-like", "personalllm-like"), ("small", "good"), 0.65
TEMPLATE = "judge/pairwise"
REPORTED = (11, 12, 13, 14, 15, 16)  # what is fixed below, and what a pair is worth, was chosen on seeds 1 to 6
KEEP, READERS, PAIRS, PROMPTS, AXES, RIDGE, HELD_OUT, POPULATION = 4, 6, 3, 15, 20, 10.0, 5, 100
MANY = (1_000, 10_000)  # people who share what a pilot costs; those of a cell are some of them
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


@dataclass(frozen=True)
class World:
    """All prompts and answers, and what is known of each answer's text."""

    prompts: list[str]
    candidates: pl.DataFrame  # prompt_id, candidate_id, text, model, view
    vectors: Grid
    kinds: dict[str, Floats]  # (answers, columns) of what a person's model may go by
    truth: Floats  # what utilities are made of


@cache
def world(pool: str) -> World:
    """The shipped prompts, answered by every character of the pool in every view."""
    writers, views, samples = POOLS[pool]
    tasks = [orjson.loads(line)["text"] for line in (files("prefloom.data") / "seeds" / "prompts.jsonl").read_text().splitlines()]
    rows = []
    for writer, view, sample in product(writers, views, range(samples)):
        requests = [Request(load("candidate/answer").render(prompt=task, view=view), 512, 0.9, 1 + sample) for task in tasks]
        replies = [reply for batch in Society(writer).answer(requests, lambda: False) for _, reply in batch]
        for task, reply in zip(tasks, replies, strict=True):
            prompt_id, text = content_id("prompt", task), reply.text or ""
            rows.append((prompt_id, content_id("candidate", prompt_id, writer, view, sample, text), text, writer, view))
    names = ["prompt_id", "candidate_id", "text", "model", "view"]
    candidates = pl.DataFrame(rows, schema=names, orient="row").unique("candidate_id").sort("prompt_id", "candidate_id")
    texts = candidates["text"].to_list()
    vectors = open_embedder(LocalEmbedder(engine="sentence-transformers")).encode(texts)
    kinds = {"MiniLM": vectors.astype(np.float64), "20 scores": score("reading", texts).astype(np.float64)}
    return World([content_id("prompt", task) for task in tasks], candidates, on_grid(vectors), kinds, features(texts))


class Reader:
    """A judge that remembers what it was asked; `ask` is what the pilot wants."""

    def __init__(self, name: str, descriptions: dict[str, str], texts: dict[str, str]) -> None:
        self._judge: Judge = profile(name, PHI)
        self._descriptions, self._texts = descriptions, texts
        self._wording = told(Request(load(TEMPLATE).render(persona="p", prompt="t", first="a", second="b"), 1))[1]
        self._known: dict[tuple[str, str, str], float] = {}

    def odds(self, asked: Sequence[tuple[str, str, str]]) -> list[float]:
        """Log-odds for the first of (first, second, persona)."""
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        for start in range(0, len(new), 2048):
            some = new[start : start + 2048]
            shown = [Asked(self._texts[a], self._texts[b], self._descriptions[who], self._wording) for a, b, who in some]
            self._known |= {one: round(found.log_odds, 4) for one, found in zip(some, self._judge.read(shown), strict=True)}
        return [self._known[one] for one in asked]

    def ask(self, plan: Sequence[Reading]) -> list[tuple[float, float]]:
        """The readings of a plan."""
        found = self.odds([(shown.first_id, shown.second_id, who) for shown, _, who in plan])
        return [(value, 1.0) for value in found]

    def margins(self, asked: Sequence[tuple[str, str, str]]) -> Floats:
        """Means of both orders."""
        ab, ba = self.odds(asked), self.odds([(b, a, who) for a, b, who in asked])
        return (np.array(ab) - np.array(ba)) / 2


class Labels(NamedTuple):
    """What an arm's people were asked, by places: person, first answer, second answer; and what they are said to prefer."""

    person: Ints
    first: Ints
    second: Ints
    margin: Floats


@dataclass
class Cell:
    """One society, one judge, one split of the prompts."""

    pool: str
    preset: str
    judge: str
    seed: int
    count: int

    def __post_init__(self) -> None:
        self.world = world(self.pool)
        self.known: dict[str, Floats] = {}
        self.people: People = plant(self.preset, self.count, self.seed)
        ids = [content_id("persona", text) for text in self.people.descriptions]
        self.descriptions = dict(zip(ids, self.people.descriptions, strict=True))
        self.person = {name: row for row, name in enumerate(ids)}
        self.place = {name: row for row, name in enumerate(self.world.candidates["candidate_id"])}
        self.reader = Reader(self.judge, self.descriptions, dict(self.world.candidates.select("candidate_id", "text").iter_rows()))
        order = np.random.default_rng(self.seed).permutation(len(self.world.prompts))
        shuffled = [self.world.prompts[place] for place in order]
        self.asked, self.held_out = sorted(shuffled[: len(shuffled) // 2]), sorted(shuffled[len(shuffled) // 2 :])
        self.utilities = self.people.weights @ self.world.truth.T
        self.mine = self.world.candidates.filter(pl.col("prompt_id").is_in(self.asked))

    def recipe(self, **pilot: Any) -> Recipe:
        """Every person is asked about one pair of each of some prompts."""
        writers, views, samples = POOLS[self.pool]
        return Recipe.model_validate(
            {
                "name": "informative",
                "seed": self.seed,
                "models": {name: {"engine": "society", "character": name} for name in {*writers, "good"}},
                "personas": [{"source": "society", "count": self.count, "preset": self.preset}],
                "prompts": [{"source": "seeds"}],
                "candidates": {"source": "models", "models": list(writers), "views": list(views), "samples": samples},
                "judgements": {"model": "good", "templates": [TEMPLATE]},
                "comparisons": {"per_prompt": PAIRS, "prompts_per_persona": PROMPTS},
                "embeddings": {"engine": "sentence-transformers"},
                "pilot": {"dominated": None, **pilot} if pilot else None,
            }
        )

    def pilot(self, recipe: Recipe) -> pl.DataFrame:
        """Rows of PilotPair."""
        grouped = answers_of(self.mine, self.world.candidates["candidate_id"].to_list())
        rows, _ = look(recipe, grouped, self.world.vectors, sorted(self.person), self.reader.ask)
        return tables.frame(PilotPair, rows)

    def labels(self, recipe: Recipe, pilot: pl.DataFrame | None) -> Labels:
        """What `choose` gives, read."""
        people = pl.DataFrame({"persona_id": sorted(self.person), "split": ["train"] * self.count})
        prompts = pl.DataFrame({"prompt_id": self.asked, "split": ["train"] * len(self.asked)})
        rows, _ = choose(recipe, people, prompts, self.mine, self.asked, pilot)
        asked = rows.select("first_id", "second_id", "persona_ids").explode("persona_ids").drop_nulls().rows()
        person, first, second = np.array([[self.person[who], self.place[a], self.place[b]] for a, b, who in asked]).T
        return Labels(person, first, second, self.reader.margins(asked))

    def fewer(self, found: Labels, calls: int) -> Labels:
        """The labels without as many, drawn by chance, as so many calls would have been worth."""
        kept = np.sort(np.random.default_rng(self.seed).permutation(len(found.person))[round(calls / 2) :])
        return Labels(*(column[kept] for column in found))

    def right(self, found: Labels) -> float:
        """Share of labels that agree with the planted preference."""
        return float(np.mean((found.margin > 0) == (self.gaps(found) > 0)))

    def gaps(self, found: Labels) -> Floats:
        """True utility of the first answer less that of the second."""
        return np.asarray(self.utilities[found.person, found.first] - self.utilities[found.person, found.second])

    def flipped(self, found: Labels, wrong: float) -> Labels:
        """The same questions, answered with the truth but for a fixed share of errors by chance."""
        errs = np.random.default_rng(self.seed).random(len(found.person)) < wrong
        return found._replace(margin=np.where(errs, -1.0, 1.0) * self.gaps(found))

    def accuracy(self, found: Labels, kind: str) -> float:
        """Share of held-out pairs on which a person's own model finds the planted preference, mean over people."""
        values = self.known.get(kind)
        if values is None:
            values = self.known[kind] = self.values(kind)
        unit = np.array([values[i] - values[j] for i, j in self.pairs(self.asked, 0)]).std(axis=0)
        values = values / np.where(unit > 0, unit, 1.0)
        test = np.array(self.pairs(self.held_out, 1))
        away = values[test[:, 0]] - values[test[:, 1]]
        scores = []
        for person in range(self.count):
            rows = found.person == person
            x, y = values[found.first[rows]] - values[found.second[rows]], np.sign(found.margin[rows])
            weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
            truth = self.utilities[person, test[:, 0]] > self.utilities[person, test[:, 1]]
            scores.append(np.mean((away @ weights > 0) == truth))
        return float(np.mean(scores))

    def values(self, kind: str) -> Floats:
        """(answers, columns) of one kind; vectors on the main axes of the answers that may be asked about."""
        values = self.world.kinds[kind]
        if values.shape[1] <= AXES:
            return values
        mine = values[[self.place[name] for name in self.mine["candidate_id"]]]
        _, axes = np.linalg.eigh(np.cov(mine.T))
        return np.asarray((values - mine.mean(axis=0)) @ axes[:, ::-1][:, :AXES])

    def pairs(self, prompts: Sequence[str], salt: int) -> list[tuple[int, int]]:
        """Some pairs of answers of each prompt, by chance."""
        dice, found = np.random.default_rng([self.seed, salt]), []
        rows = self.world.candidates.filter(pl.col("prompt_id").is_in(list(prompts)))
        for _, part in rows.group_by("prompt_id", maintain_order=True):
            every = list(combinations([self.place[name] for name in part["candidate_id"]], 2))
            found += [every[place] for place in dice.choice(len(every), HELD_OUT, replace=False)]
        return found


BASE = "by chance"


class Result(NamedTuple):
    """What an arm came to in one cell: calls per label by chance, share of labels that are right, and accuracies by kind of features."""

    calls: float
    right: float
    scores: dict[str, float]
    steady: float  # the last of them, if as many labels were wrong as in the arm by chance


def arms(cell: Cell) -> dict[str, Result]:
    """Every arm; where the pilot's calls are counted, its people are asked about fewer prompts."""
    plain = cell.recipe()
    base = cell.labels(plain, None)
    wrong, budget = 1 - cell.right(base), 2 * len(base.person)

    def result(found: Labels, calls: int = 0) -> Result:
        kinds = list(cell.world.kinds)
        return Result(
            (2 * len(found.person) + calls) / budget,
            cell.right(found),
            {kind: cell.accuracy(found, kind) for kind in kinds},
            cell.accuracy(cell.flipped(found, wrong), kinds[-1]),
        )

    found = {BASE: result(base)}
    few = cell.recipe(keep=KEEP, personas=0)
    rows = cell.pilot(few)
    found[f"by chance, among the {KEEP} farthest"] = result(cell.labels(cell.recipe(keep=KEEP, personas=0, uniform=1.0), rows))
    found["by distance, among these"] = result(cell.labels(few, rows))
    rows = cell.pilot(cell.recipe(keep=KEEP, personas=READERS))
    calls = 2 * int(rows["persona_ids"].list.len().sum())
    for first in ("disagreement", "strength"):
        chosen = cell.labels(cell.recipe(keep=KEEP, personas=READERS, first=first), rows)
        found[f"by {first}, among these; the pilot not counted"] = result(chosen)
        for people in MANY:
            mine = calls * cell.count // people
            found[f"by {first}; the pilot counted, shared by {people:,} people"] = result(cell.fewer(chosen, mine), mine)
    return found


def interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval, in points, over seeds."""
    half = STUDENT.get(len(values), 2.0) * np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{100 * np.mean(values):+.1f} ± {100 * half:.1f}"


def recovery(cells: Sequence[Cell]) -> str:
    """One table for the cells of one pool, preset and judge, which differ in their seeds."""
    found = [arms(cell) for cell in cells]
    kinds = list(cells[0].world.kinds)
    head = ["pairs are chosen", "calls", "labels right", *(f"{kind}, against chance" for kind in kinds), f"{kinds[-1]}, errors held equal"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in found[0]:
        rows = [one[name] for one in found]
        cols = [name, f"{np.mean([row.calls for row in rows]):.2f}", f"{100 * np.mean([row.right for row in rows]):.1f} %"]
        for kind in kinds:
            if name == BASE:
                cols.append(f"{100 * np.mean([row.scores[kind] for row in rows]):.1f} %")
            else:
                cols.append(interval([row.scores[kind] - one[BASE].scores[kind] for row, one in zip(rows, found, strict=True)]))
        if name == BASE:
            cols.append(f"{100 * np.mean([row.steady for row in rows]):.1f} %")
        else:
            cols.append(interval([row.steady - one[BASE].steady for row, one in zip(rows, found, strict=True)]))
        lines.append("| " + " | ".join(cols) + " |")
    return "\n".join(lines)


def population(cell: Cell) -> str:
    """Bias of figures about the population, where every pair that the pilot kept is read by everybody."""
    recipe = cell.recipe(keep=KEEP + 2, personas=READERS)
    rows = cell.pilot(recipe)
    who = sorted(cell.person)[:POPULATION]
    writers = dict(cell.mine.select("candidate_id", "model").iter_rows())
    values: dict[str, list[tuple[Floats, Floats, Floats]]] = {}
    for _, part in rows.group_by("prompt_id", maintain_order=True):
        pairs = part.select("first_id", "second_id").rows()
        margins = cell.reader.margins([(a, b, name) for name in who for a, b in pairs]).reshape(len(who), len(pairs))
        worths = worth([PilotPair.model_construct(None, **row) for row in part.iter_rows(named=True)], "disagreement")
        named = figures(margins, [writers[a] for a, _ in pairs], [writers[b] for _, b in pairs], POOLS[cell.pool][0][0])
        for name, (value, cases) in named.items():
            values.setdefault(name, []).append((value, cases, worths))
    assert recipe.pilot
    lines = ["| figure | all pairs | by chance | informative | informative, weighed |", "|---|---|---|---|---|"]
    for name, prompts in values.items():
        found = bias(prompts, PAIRS, recipe.pilot.uniform, cell.seed)
        cells = [f"{mean:.3f} ({mean - found.truth:+.3f}; s.d. {deviation:.3f})" for mean, deviation in found[1:]]
        lines.append("| " + " | ".join([name, f"{found.truth:.3f}", *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=REPORTED)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS))
    given = parser.parse_args()
    began = time.perf_counter()
    for pool, preset, judge in product(given.pools, PRESETS, JUDGES):
        cells = [Cell(pool, preset, judge, seed, given.people) for seed in given.seeds]
        print(f"\n### {preset}, judge {judge}, answers that differ in {pool}\n\n{recovery(cells)}", flush=True)
        if pool == given.pools[0]:
            print(f"\n{population(cells[0])}", flush=True)
        print(f"  {pool}, {preset}, {judge}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
