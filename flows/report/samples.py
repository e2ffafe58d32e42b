"""Which rows a reader should see: the same two answers with opposite choices, and one label for each way in which labels end.

    choose(data)  ->  [Sample("Opposite choices", prompt="…", answers=(Answer(…), Answer(…)), verdicts=[Verdict(…), Verdict(…)]), …]

Nothing is drawn by chance: opposite choices are the comparisons in which both sides are surest; the others are the extremes of their kind.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from prefloom.flows.dataset.statistics import Dataset

OPPOSITES = 3
Row = dict[str, Any]  # a row of labels
_ENDINGS = (
    ("The surest label", None, pl.col("margin").abs(), True),
    ("Too close to call", "undecided", pl.col("margin").abs(), False),
    ("The order decided", "inconsistent", pl.col("bias").abs(), True),
    ("The judge wanted to say something else", "low_mass", pl.col("mass"), False),
    ("One answer is the beginning of the other", "length_only", pl.col("margin").abs(), True),
)


@dataclass(frozen=True)
class Answer:
    """One of the two candidates."""

    name: str
    model: str
    view: str | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """What one persona prefers, and the readings that it follows from: (order, template, log-odds for the first shown, mass)."""

    persona: str
    chosen: str
    margin: float
    probability: float
    reason: str | None
    readings: list[tuple[str, str, float, float]]
    appended: str = ""  # what refinement added to the persona


@dataclass(frozen=True)
class Sample:
    """One comparison and what one or two personas made of it."""

    title: str
    prompt: str
    answers: tuple[Answer, Answer]
    verdicts: list[Verdict]


def choose(data: Dataset) -> list[Sample]:
    """The samples, each of another prompt as far as there are enough."""
    samples = []
    seen: set[str] = set()
    for a, b in _opposites(data):
        samples.append(_sample(data, "Same two answers, opposite choices", [a, b]))
        seen.add(a["prompt_id"])
    for title, reason, measure, largest in _ENDINGS:
        labels = data.labels.filter(pl.col("reason").is_null() if reason is None else pl.col("reason") == reason)
        ranked = labels.sort(measure, "persona_id", "comparison_id", descending=[largest, False, False])
        fresh = ranked.filter(~pl.col("prompt_id").is_in(list(seen)))
        for row in (fresh if fresh.height else ranked).head(1).iter_rows(named=True):
            samples.append(_sample(data, title, [row]))
            seen.add(row["prompt_id"])
    return samples


def _opposites(data: Dataset) -> list[tuple[Row, Row]]:
    """Pairs of kept labels on one comparison with opposite signs, the surest on both sides first, one to a prompt."""
    kept = data.labels.filter(pl.col("reason").is_null()).sort(pl.col("margin").abs(), "persona_id", descending=[True, False])
    positive = pl.col("margin") > 0
    sides = [kept.filter(side).unique("comparison_id", keep="first", maintain_order=True) for side in (positive, ~positive)]
    both = sides[0].join(sides[1].select("comparison_id", pl.col("margin").alias("against")), on="comparison_id")
    sure = pl.min_horizontal(pl.col("margin"), -pl.col("against"))
    ranked = both.sort(sure, "comparison_id", descending=[True, False]).unique("prompt_id", keep="first", maintain_order=True)
    chosen = ranked["comparison_id"].head(OPPOSITES).to_list()
    first, second = ({row["comparison_id"]: row for row in _of(side, chosen).iter_rows(named=True)} for side in sides)
    return [(first[key], second[key]) for key in chosen]


def _of(labels: pl.DataFrame, comparisons: list[str]) -> pl.DataFrame:
    return labels.filter(pl.col("comparison_id").is_in(comparisons))


def _sample(data: Dataset, title: str, rows: list[Row]) -> Sample:
    head = rows[0]
    prompt = data.prompts.filter(pl.col("prompt_id") == head["prompt_id"])["text"].item()
    answers = []
    for name, key in (("a", "candidate_a"), ("b", "candidate_b")):
        row = data.candidates.row(by_predicate=pl.col("candidate_id") == head[key], named=True)
        answers.append(Answer(name, row["model"], row["view"], row["text"]))
    return Sample(title, prompt, (answers[0], answers[1]), [_verdict(data, row) for row in rows])


def _verdict(data: Dataset, label: Row) -> Verdict:
    mine = (pl.col("persona_id") == label["persona_id"]) & (pl.col("comparison_id") == label["comparison_id"])
    reads = data.judgements.filter(mine).sort("template", "order").select("order", "template", "log_odds", "mass").rows()
    persona = data.personas.filter(pl.col("persona_id") == label["persona_id"])["description"].item()
    added = data.appended.filter(pl.col("persona_id") == label["persona_id"])["appended"].item()
    chosen = "a" if label["margin"] > 0 else "b" if label["margin"] < 0 else ""
    return Verdict(persona, chosen, label["margin"], label["probability"], label["reason"], reads, added)
