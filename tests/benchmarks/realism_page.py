"""The words of the realism page, and how numbers become words: which figures are far off is decided here.

Row("median", [Estimate(90, 80, 99), Estimate(190, 180, 199)], "ratio", ("longer", "shorter")).off(0)   ->  "90 (shorter, .47 ×)"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prefloom.flows.dataset.heterogeneity import Estimate

COLUMNS = ("society, shipped prompts", "society, prompts of the real", "real")
POINTS, RATIO = 10.0, 1.5  # how far from real is far off, for shares and for other numbers

PAGE = """\
# How real the society's answers are

    python -m tests.benchmarks.realism ANSWERS.jsonl PROMPTS.jsonl > docs/realism.md

{verdict}

The society's {members} answered in two views (as in `tests/benchmarks/panel.py`), at temperature .9: {each} answers to each of the
{shipped} prompts that ship with prefloom, and to each of the {real} prompts of the real answers, to which {each} models of 2024 gave
one answer each. The shipped prompts ask for explanations, opinions and reviews that the society knows; the real
ones ask for anything. Brackets are 95 % intervals over prompts, and over people where there are any. Bold is far off: intervals that do
not overlap, and more than 10 points between shares or a factor of more than 1.5 between other numbers.

## Single properties

Shipped prompts / prompts of the real / real. The share of the variance of scores (`truth`) that lies between answers to one prompt, in
bold where it is more than .15 outside the range of all properties in real answers; the standard deviation of these, where 1 is that of
all real answers; how much of it a ridge regression on MiniLM's vectors tells of prompts it has not seen; and how far the judges'
scorers agree within prompts. A share of 1.00 says that it makes no difference to a property what was asked.

{single}

## Directions

(sum of eigenvalues)² / sum of squared eigenvalues of the covariance within prompts: in how many directions answers differ, in effect.

{directions}

## Gaps of utility

|Δu| between two answers to one prompt, for planted people, in standard deviations of a person's u over all real answers.

{gaps}

## What MiniLM sees

Ridge regressions on differences of MiniLM's vectors, on 120 prompts of each set, tried on prompts that they have not seen. A person's
regression is told all the other answers' utilities: this is what a vector holds, not what a few labels teach.

{what}

MiniLM reads the first 256 tokens, about 190 words. Where vectors and truth are both those of the first {read} words of real answers, the
last column is: {openings}.

## Exact weights, other scorers

Pairs of answers to one prompt that a reader with a person's exact weights decides as the truth does, when it scores texts as the judges
do (`reading`) or as evaluation does (`held_out`): the most that a judge without any other fault can reach.

{exact}

## Lengths and repetition

Sentences of five words or more, on 120 prompts of each set.

{lengths}

## Likeness

Mean cosine of MiniLM's vectors.

{likeness}

The same on 60 shipped prompts, by what makes the eight answers differ. One member answers each prompt in the first two rows, the
members in turn. FSPO's published figures of this kind are of another encoder: the order can be compared, the numbers cannot.

{ways}
"""

Compared = Literal["points", "ratio"]


@dataclass(frozen=True)
class Row:
    """One figure of the three sets. `means` says what a higher and a lower one amount to; `compared` when a difference counts."""

    name: str
    cells: Sequence[Estimate | str]
    compared: Compared | None = None
    means: tuple[str, str] = ("higher", "lower")

    def off(self, column: int) -> str:
        """In words, how far a set is from the real one; nothing where it is near, or where both intervals overlap."""
        found, real = self.cells[column], self.cells[-1]
        if self.compared is None or isinstance(found, str) or isinstance(real, str) or np.isnan([found.value, real.value]).any():
            return ""
        if found.low <= real.high and real.low <= found.high:
            return ""
        side = self.means[0] if found.value > real.value else self.means[1]
        if self.compared == "points":
            apart = 100 * abs(found.value - real.value)
            return f"{digits(found.value)} ({side} by {apart:.0f} points)" if apart > POINTS else ""
        ratio = found.value / real.value if real.value else float("inf")
        return f"{digits(found.value)} ({side}, {ratio:.2g} ×)" if not 1 / RATIO <= ratio <= RATIO else ""


def digits(number: float) -> str:
    """Two digits for shares and small numbers, whole ones for counts."""
    text = f"{number:.0f}" if abs(number) >= 20 else f"{number:.1f}" if abs(number) >= 3 else f"{number:.2f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def cell(found: Estimate | str) -> str:
    return found if isinstance(found, str) else f"{digits(found.value)} ({digits(found.low)} to {digits(found.high)})"


def table(rows: Sequence[Row]) -> str:
    """Markdown, with what is far off in bold."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        cells = [f"**{cell(found)}**" if row.off(column) else cell(found) for column, found in enumerate(row.cells)]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


Way = tuple[str, Estimate, Estimate | None]  # of varying answers: its name, their cosine, and what it takes off that of the way before


def failing(ways: Sequence[Way]) -> list[str]:
    """The ways that do not make answers less alike than the one before, as far as intervals tell."""
    return [f"{name} ({cell(fall)} less)" for name, _, fall in ways if fall is not None and fall.low <= 0]


def orders(ways: Sequence[Way]) -> str:
    """The table of ways of varying answers, and whether each makes them less alike than the one before."""
    lines = ["| how the 8 answers differ | mean cosine | less than the row above by |", "|---|---|---|"]
    lines += [f"| {name} | {cell(value)} | {'' if fall is None else cell(fall)} |" for name, value, fall in ways]
    said = "Each way of varying answers makes them less alike than the one before, and no interval reaches 0."
    return "\n".join([*lines, "", said if not failing(ways) else "**The order does not hold**: an interval in the last column reaches 0."])


def verdict(rows: dict[str, list[Row]], notes: list[str]) -> str:
    """What the top of the page says: everything that is far off, in words, first of all where the society is easier to read."""
    easier: list[str] = []
    others = list(notes)
    compared = [(title, row) for title, some in rows.items() for row in some if row.compared]
    far = 0
    for title, row in compared:
        said = [f"{COLUMNS[place]} {words}" for place in range(len(COLUMNS) - 1) if (words := row.off(place))]
        far += bool(said)
        if said and isinstance(real := row.cells[-1], Estimate):
            line = f"- **{title}**, {row.name}: real {digits(real.value)}; {'; '.join(said)}."
            (easier if any("(easier" in words for words in said) else others).append(line)
    lead = "The society's answers are easier to tell apart by taste than real ones, by more than 10 points:\n"
    none = "By no reader are the society's answers easier to tell apart by taste than real ones by more than 10 points."
    said_first = "\n".join([lead, *easier]) if easier else none
    rest = f"{len(compared) - far} of {len(compared)} figures are near those of real answers."
    return "\n".join([said_first, "", rest + (" Far off are:\n" if others else ""), *others])
