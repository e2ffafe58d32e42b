"""How far the simulated society's answers are like real ones. Prints Markdown, which is docs/realism.md; progress to stderr.

    python -m tests.benchmarks.realism ANSWERS.jsonl PROMPTS.jsonl > docs/realism.md

    ANSWERS.jsonl   {"prompt_id": "p1", "model": "some-model", "text": "Rinse it first."}     as many models for each prompt
    PROMPTS.jsonl   {"prompt_id": "p1", "text": "How do I cook rice?"}

Three sets of answers stand side by side: the society's to the prompts that ship with prefloom, the society's to the prompts of the real
answers, and the real answers. The first differs from the last in its prompts too, so like is compared with like in the second. What the
page says in words follows from the numbers: realism_page.py decides what is far off.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefloom.flows.dataset import heterogeneity as h
from prefloom.flows.dataset.heterogeneity import Estimate, Floats, Ints
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.scorers import PROPERTIES, score
from prefloom.flows.engines.society import Society, utility
from prefloom.flows.engines.society.people import People, plant
from prefloom.prompts import load
from prefloom.schemas.embedder import LocalEmbedder
from tests.benchmarks import realism_figures as f
from tests.benchmarks.panel import CHARACTERS, PRESETS, SEEDS, VIEWS, ask, write
from tests.benchmarks.realism_page import COLUMNS, PAGE, Row, cell, digits, failing, orders, table, verdict

PEOPLE = 100
EMBEDDED = 120  # prompts of each set that are embedded: as many of each, because a regression learns more from more
SAMPLED = 60  # prompts for each way of varying answers
SAMPLES = 8
TEMPERATURE = 0.9
SHORT = 20  # words
READ = 150  # words, of which MiniLM reads all: it stops at 256 tokens, and most real answers have more
BEGAN = time.perf_counter()


@dataclass(frozen=True)
class Set:
    """Answers [prompt][answer], and what the scorers and MiniLM make of them, [prompt, answer, …]."""

    answers: list[list[str]]
    features: Floats  # what utilities are made of; the first twenty are the scorers `truth`
    reading: Floats
    held_out: Floats
    vectors: Floats  # of the first EMBEDDED prompts

    @property
    def truth(self) -> Floats:
        return self.features[..., : len(PROPERTIES)]

    def utilities(self, people: People) -> Floats:
        """[person, prompt, answer]."""
        return np.asarray(np.einsum("kf,paf->kpa", people.weights, self.features))

    def read(self, people: People, scores: Floats) -> Floats:
        """What somebody reads who knows the weights exactly and has other scorers; the part that no property tells is out of reach."""
        prompts, answers, known = scores.shape
        flat = scores.reshape(-1, known)
        seen = np.concatenate([flat, utility.bent(flat)], axis=1).reshape(prompts, answers, -1)
        return np.asarray(np.einsum("kf,paf->kpa", people.weights[:, : seen.shape[2]], seen))


def say(text: str) -> None:
    print(f"{time.perf_counter() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)


def over(values: Floats) -> Estimate:
    """Mean of [prompt] or of [person, prompt], with its interval over prompts, and people if there are any."""
    grid = np.atleast_2d(values)
    return h.interval(lambda u, p: float(grid[np.ix_(u, p)].mean()), *grid.shape)


def over_prompts(metric: Callable[[Ints], float], prompts: int) -> Estimate:
    return h.interval(lambda _, p: metric(p), 1, prompts)


def directions(sets: Sequence[Set], people: dict[str, People]) -> list[Row]:
    def row(name: str, take: Callable[[Set], Floats], weights: Floats | None = None) -> Row:
        parts = [f.covariances(take(one)) for one in sets]
        cells = [over_prompts(lambda p, part=part: f.participation(part[p].mean(axis=0), weights), len(part)) for part in parts]  # type: ignore[misc]
        return Row(name, cells, "ratio", ("more", "fewer"))

    return [
        row("20 properties, set `truth`", lambda one: one.truth),
        row("20 properties, set `reading`", lambda one: one.reading),
        *(row(f"utilities of {PEOPLE} people, {preset}", lambda one: one.features, some.weights) for preset, some in people.items()),
    ]


def gaps(sets: Sequence[Set], people: dict[str, People]) -> list[Row]:
    rows = []
    for preset, some in people.items():
        unit = sets[-1].utilities(some).reshape(PEOPLE, -1).std(axis=1)[:, None, None]
        found = [f.gaps(one.utilities(some) / unit) for one in sets]
        spread = [" / ".join(digits(x) for x in np.quantile(each, [0.1, 0.5, 0.9])) for each in found]
        rows += [
            Row(f"{preset}: mean", [over(each.mean(axis=2)) for each in found], "ratio", ("wider", "narrower")),
            Row(f"{preset}: 10 / 50 / 90 % quantile", spread),
        ]
    return rows


def seen(sets: Sequence[Set], people: dict[str, People]) -> tuple[list[Row], list[Floats]]:
    """What MiniLM sees of properties and utilities; and R² per property."""
    cells: dict[str, list[Estimate]] = {}
    by_property = []

    def note(name: str, errors: Floats, squares: Floats) -> None:
        def mean(p: Ints) -> float:
            return float(np.mean(1 - errors[p].sum(axis=0) / squares[p].sum(axis=0)))

        cells.setdefault(name, []).append(over_prompts(mean, len(errors)))

    for one in sets:
        count = len(one.vectors)
        truths = {preset: one.utilities(some)[:, :count] for preset, some in people.items()}
        targets = np.concatenate([one.truth[:count], *(np.moveaxis(u, 0, -1) for u in truths.values())], axis=2)
        predicted = f.predict(one.vectors, targets)
        errors, squares = f.explained(targets, predicted)
        properties = len(PROPERTIES)
        by_property.append(1 - errors[:, :properties].sum(axis=0) / np.maximum(squares[:, :properties].sum(axis=0), 1e-9))
        note("R² within prompts, mean of 20 properties", errors[:, :properties], squares[:, :properties])
        for place, (preset, truth) in enumerate(truths.items()):
            own = slice(properties + place * PEOPLE, properties + (place + 1) * PEOPLE)
            note(f"R² within prompts, utilities, {preset}", errors[:, own], squares[:, own])
            guessed = np.moveaxis(predicted[..., own], -1, 0)
            cells.setdefault(f"pairs decided as the truth does, {preset}", []).append(over(f.decided_alike(truth, guessed)))
    return [Row(name, found, "points", ("easier", "harder")) for name, found in cells.items()], by_property


def opening(text: str) -> str:
    """The first READ words, with the lines they stand in."""
    return "".join(re.split(r"(\s+)", text.strip())[: 2 * READ - 1])


def seen_in_openings(answers: Sequence[Sequence[str]], people: dict[str, People]) -> str:
    """The same, where vectors and truth are those of the first READ words: whether it is only that MiniLM does not read to the end."""
    openings = [[opening(text) for text in row] for row in answers[:EMBEDDED]]
    rows, _ = seen([measure(openings, embed(openings))], people)
    return "; ".join(f"{row.name}: {cell(row.cells[0])}" for row in rows)


def read_out(sets: Sequence[Set], people: dict[str, People]) -> list[Row]:
    rows = []
    for preset, some in people.items():
        truths = [one.utilities(some) for one in sets]
        for name in ("reading", "held_out"):
            read = [one.read(some, getattr(one, name)) for one in sets]
            cells = [over(f.decided_alike(u, v)) for u, v in zip(truths, read, strict=True)]
            rows.append(Row(f"{preset}, scorers `{name}`", cells, "points", ("easier", "harder")))
    return rows


def lengths(sets: Sequence[Set]) -> list[Row]:
    words = [np.array([[len(text.split()) for text in row] for row in one.answers], dtype=np.float64) for one in sets]
    again = [f.repeated(one.answers[:EMBEDDED]) for one in sets]
    openings = [np.array([np.mean([f.refuses(text) for text in row]) for row in one.answers]) for one in sets]
    quantiles = [" / ".join(digits(x) for x in np.quantile(each, [0.05, 0.25, 0.5, 0.75, 0.95])) for each in words]
    medians = [over_prompts(lambda p, each=each: float(np.median(each[p])), len(each)) for each in words]  # type: ignore[misc]
    return [
        Row("words, median", medians, "ratio", ("longer", "shorter")),
        Row("words, 5 / 25 / 50 / 75 / 95 % quantile", quantiles),
        Row(f"fewer than {SHORT} words", [over((each < SHORT).mean(axis=1)) for each in words], "points"),
        Row("opens with an apology or a refusal", [over(each) for each in openings], "points"),
        Row("equals another answer to its prompt", [over(f.equal(one.answers)) for one in sets], "points"),
        Row("sentences that another answer to the prompt has, word for word", [over(here) for here, _ in again], "points"),
        Row("sentences that an answer to another prompt has, word for word", [over(there) for _, there in again], "points"),
    ]


def likeness(sets: Sequence[Set]) -> list[Row]:
    found = [f.cosines(one.vectors) for one in sets]
    return [
        Row("two answers to one prompt", [over(own) for own, _ in found], "points"),
        Row("answers to two prompts", [over(others) for _, others in found], "points"),
    ]


def sample(prompts: Sequence[str], views: Sequence[str | None]) -> list[list[str]]:
    """SAMPLES answers to each prompt by one member, from as many seeds as the views leave. Members take turns from prompt to prompt."""
    template, rows = load("candidate/answer"), []
    for place, prompt in enumerate(prompts):
        rendered = [template.render(prompt=prompt, view=view) for view in views]
        requests = [Request(rendered[i % len(views)], 512, TEMPERATURE, 1 + i // len(views)) for i in range(SAMPLES)]
        rows.append([reply.text or "" for reply in ask(Society(CHARACTERS[place % len(CHARACTERS)]), requests)])
    return rows


def properties(sets: Sequence[Set], told: Sequence[Floats]) -> tuple[str, list[str]]:
    """The table of single properties, and what is to be said at the top."""
    shares = [f.within_share(one.truth) for one in sets]
    spreads = [f.within_sd(one.truth) for one in sets]
    reads = [f.correlation(one.truth, one.reading) for one in sets]
    low, high = shares[-1].min(), shares[-1].max()
    lines = ["| | within-prompt share | within-prompt s.d. | R² from MiniLM | correlation truth · reading |", "|---|---|---|---|---|"]
    for column, name in enumerate(PROPERTIES):
        flags = ["**" if not low - 0.15 <= share[column] <= high + 0.15 else "" for share in shares]
        cells = [" / ".join(f"{flag}{digits(share[column])}{flag}" for flag, share in zip(flags, shares, strict=True))]
        cells += [" / ".join(digits(each[column]) for each in group) for group in (spreads, told, reads)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    notes = []
    for place, title in enumerate(COLUMNS[:-1]):
        out = [name for name, share in zip(PROPERTIES, shares[place], strict=True) if not low - 0.15 <= share <= high + 0.15]
        if out:
            notes.append(
                f"- **Variance within prompts** ({title}): the share that lies within prompts is more than .15 outside the range of real "
                f"answers ({digits(low)} to {digits(high)}) in {len(out)} of {len(PROPERTIES)} properties: {', '.join(out)}."
            )
    return "\n".join(lines), notes


def measure(answers: list[list[str]], vectors: Floats) -> Set:
    texts, shape = [text for row in answers for text in row], (len(answers), len(answers[0]), -1)
    return Set(
        answers,
        utility.features(texts).reshape(shape),
        score("reading", texts).astype(np.float64).reshape(shape),
        score("held_out", texts).astype(np.float64).reshape(shape),
        vectors,
    )


def embed(answers: Sequence[Sequence[str]]) -> Floats:
    vectors = open_embedder(LocalEmbedder(engine="sentence-transformers")).encode([text for row in answers for text in row])
    return np.asarray(vectors, dtype=np.float64).reshape(len(answers), len(answers[0]), -1)


def real(rows: list[dict[str, Any]], prompts: list[dict[str, Any]], seed: int) -> tuple[list[str], list[list[str]]]:
    """(prompts, [prompt][answer]), prompts in a drawn order, those that not all models answered left out."""
    models = sorted({row["model"] for row in rows})
    found = {(row["prompt_id"], row["model"]): row["text"] for row in rows}
    asked = [row for row in prompts if all((row["prompt_id"], model) in found for model in models)]
    drawn = [asked[i] for i in np.random.default_rng(seed).permutation(len(asked))]
    return [row["text"] for row in drawn], [[found[row["prompt_id"], model] for model in models] for row in drawn]


def page(shipped: list[str], asked: list[str], known: list[list[str]], seed: int) -> str:
    """The whole page."""
    people = {preset: plant(preset, PEOPLE, seed) for preset in PRESETS}
    written = [write(Society, prompts, seed) for prompts in (shipped, asked)]
    sets = []
    for name, answers in zip(COLUMNS, [*written, known], strict=True):
        say(f"{name}: embeds")
        vectors = embed(answers[:EMBEDDED])
        say(f"{name}: scores")
        sets.append(measure(answers, vectors))
    say("one member, several seeds: embeds")
    none, views = (f.cosines(embed(sample(shipped[:SAMPLED], each)))[0] for each in ([None], VIEWS))
    members = f.cosines(sets[0].vectors)[0][:SAMPLED]
    ways = [
        ("one member, no view, 8 seeds", over(none), None),
        ("one member, 2 views × 4 seeds", over(views), over(none - views)),
        ("4 members × 2 views", over(members), over(views - members)),
    ]
    say("real answers, their first words: embeds")
    openings = seen_in_openings(known, people)
    say("figures and intervals")
    minilm, told = seen(sets, people)
    single, notes = properties(sets, told)
    notes += [
        f"- **Likeness**: answers by {way} are no less alike than those of the way before it in the last table." for way in failing(ways)
    ]
    rows = {
        "Directions": directions(sets, people),
        "Gaps of utility": gaps(sets, people),
        "What MiniLM sees": minilm,
        "Exact weights, other scorers": read_out(sets, people),
        "Lengths and repetition": lengths(sets),
        "Likeness": likeness(sets),
    }
    say("done")
    return PAGE.format(
        verdict=verdict(rows, notes),
        single=single,
        ways=orders(ways),
        openings=openings,
        read=READ,
        members=", ".join(CHARACTERS),
        shipped=len(shipped),
        real=len(known),
        each=len(known[0]),
        **{title.split()[0].lower().rstrip(","): table(some) for title, some in rows.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("answers", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rows, prompts, seeds = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (given.answers, given.prompts, SEEDS)
    )
    drawn = np.random.default_rng(given.seed).permutation(len(seeds))
    print(page([seeds[i]["text"] for i in drawn], *real(rows, prompts, given.seed), given.seed), end="")


if __name__ == "__main__":
    main()
