"""What the answers read like: some in full, and for every property of a text the answers at its ends.

    drawn(candidates)      ->  the answers in the order in which they are shown: another prompt's after four, its models and views in turn
    written(data)          ->  [("How do I wrap …", [Written("Lay the present …", "scholar · formal · temperature 0.9"), …]), …]
    properties(data)       ->  {"of": 400, "rows": [Property("length", within=0.61, mean=-0.42, sd=0.71, ends=[…]), …]}

A reader of twenty answers to five prompts sees whether all are one template; a reader of the ends of a property, whether it means what it
is called on these answers. Scores are of texts alone (flows/engines/scorers): nothing here knows what anybody was made to like.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset.population import components
from prefloom.flows.dataset.statistics import SEPARATOR, Dataset, Floats
from prefloom.flows.engines.scorers import PROPERTIES, SETS, STYLE, Set, score

PROMPTS, EACH = 5, 4  # shown in full
SCORED, OF_A_PROMPT = 400, 8  # answers whose properties are measured: a second or two
ENDS = 2  # highest and lowest answers shown
PASSAGE = 200  # characters of an answer at an end
# A file's one answer of many megabytes must not hold up the page: characters that are scored, and that are searched for a passage.
LONGEST, SEARCHED = 20_000, 5_000


@dataclass(frozen=True)
class Written:
    """An answer and where it comes from."""

    text: str
    source: str


@dataclass(frozen=True)
class End:
    """One of the highest or lowest answers by a set of scorers, and how many have the very same score: a word list gives many a zero."""

    score: float
    ties: int
    answer: Written
    passage: str  # from where a high one has most of the property on; from its beginning, a low one


@dataclass(frozen=True)
class Property:
    """How the answers differ in one property, by the set for evaluation; `ends` has for each set its highest and then its lowest."""

    name: str
    within: float
    mean: float
    sd: float
    ends: list[tuple[Set, list[End]]]


def drawn(candidates: pl.DataFrame) -> pl.DataFrame:
    """All answers, prompt after prompt by a fixed seed, those with enough answers first; `place` counts them within their prompt."""
    order = np.random.default_rng(0).permutation(candidates.height)
    shuffled = candidates.sort("candidate_id").with_columns(pl.Series("draw", order, pl.Int64)).sort("draw")
    turn = pl.int_range(pl.len()).over("prompt_id", "model", "view", "temperature")
    in_turn = shuffled.with_columns(turn.alias("turn")).sort("turn", "draw")
    placed = in_turn.with_columns(pl.int_range(pl.len()).over("prompt_id").alias("place"))
    return placed.sort(pl.len().over("prompt_id") < EACH, pl.col("draw").min().over("prompt_id"), "place")


def written(data: Dataset) -> list[tuple[str, list[Written]]]:
    """Prompts, each with its answers."""
    few = drawn(data.candidates).filter(pl.col("place") < EACH)
    chosen = few["prompt_id"].unique(maintain_order=True).head(PROMPTS).to_list()
    texts = dict(data.prompts.filter(pl.col("prompt_id").is_in(chosen)).select("prompt_id", "text").iter_rows())
    return [(texts[one], [_written(row) for row in few.filter(pl.col("prompt_id") == one).iter_rows(named=True)]) for one in chosen]


def properties(data: Dataset) -> dict[str, Any]:
    """Every property over an even sample of the answers."""
    sample = drawn(data.candidates).filter(pl.col("place") < OF_A_PROMPT).head(SCORED)
    if sample.is_empty():
        return {"of": 0, "rows": []}
    answers = [_written(row) for row in sample.iter_rows(named=True)]
    prompts = sample["prompt_id"].to_list()
    scores = {name: score(name, [answer.text[:LONGEST] for answer in answers]).astype(np.float64) for name in SETS}
    rows = []
    for column, name in enumerate(PROPERTIES):
        values = scores["held_out"][:, column]
        between, within = components(sample.select("prompt_id", pl.Series("score", values)), "prompt_id", "score")
        share = within / (between + within) if between + within else float("nan")
        ends = [(each, _ends(each, column, found[:, column], answers, prompts)) for each, found in scores.items()]
        rows.append(Property(name, share, round(float(values.mean()), 2) + 0.0, float(values.std()), ends))
    return {"of": len(answers), "rows": rows, "styles": len(STYLE)}


def _ends(name: Set, column: int, values: Floats, answers: list[Written], prompts: list[str]) -> list[End]:
    """The highest answers and the lowest, each of another prompt: one prompt for slogans would be every highest and every lowest."""
    order = np.argsort(-values, kind="stable").tolist()
    ends: dict[int, str] = {}
    for ranked, high in ((order, True), (order[::-1], False)):
        first: dict[str, int] = {}
        for i in ranked:
            if i not in ends:
                first.setdefault(prompts[i], i)
        ends |= {i: _passage(name, column, answers[i].text) if high else answers[i].text for i in list(first.values())[:ENDS]}
    return [End(float(values[i]), int((values == values[i]).sum()), answers[i], passage) for i, passage in ends.items()]


def _passage(name: Set, column: int, text: str) -> str:
    """The text from where it has most of a property on: what makes an answer an extreme is seldom in its first words."""
    starts, scores = _passages(name, text)
    start = starts[int(np.argmax(scores[:, column]))]
    return f"… {text[start:]}" if start else text


@lru_cache(maxsize=1024)
def _passages(name: Set, text: str) -> tuple[list[int], NDArray[np.float32]]:
    """Where passages of a text start, at words, and their scores."""
    steps = range(0, max(1, min(len(text), SEARCHED) - PASSAGE + 1), PASSAGE // 2)
    starts = [text.find(" ", step, step + PASSAGE // 2) + 1 if step else 0 for step in steps]
    return starts, score(name, [text[start : start + PASSAGE] for start in starts])


def _written(row: dict[str, Any]) -> Written:
    temperature = None if row["temperature"] is None else f"temperature {row['temperature']:g}"
    return Written(row["text"], SEPARATOR.join(part for part in (row["model"], row["view"], temperature) if part))
