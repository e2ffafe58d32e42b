"""Whether the declared faults of the judges can be found again in what they say. Prints Markdown; a minute.

    python -m tests.benchmarks.recovery [--people 120] [--prompts 80]

Readings of the reference recipe (calibration.py) under twelve wordings, both orders. From them, with 95 % intervals over people, prompts
and wordings:

φ        readings less the same judge's without errors: covariance of two of them that share neither wording nor order, per variance
bias     mean log-odds of whatever is shown first
length   least squares of readings on the reading without errors, on differences of all properties and of words shared with the description
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society import reader
from prefloom.flows.engines.society.data import load
from prefloom.flows.engines.society.judge import Judge
from tests.benchmarks.calibration import PHIS, SILENT, TEMPLATES, Floats, Reference, phi, reads, reference

Ints = NDArray[np.int64]
TAILS = ("", "\nTake your time.", "\nOne of the two has to be chosen.", "\nThink of what this person would say.")
RESAMPLES = 200


@dataclass(frozen=True)
class Found:
    """A constant as it is declared and as readings give it, with the ends of its 95 % interval."""

    declared: float
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the declared value is within the interval."""
        return self.low <= self.declared <= self.high


def readings(known: Reference, judge: Judge) -> Floats:
    """[wording, order, asked] -> log-odds of the one answer."""
    return np.array([reads(known, judge, name, tail) for name in TEMPLATES for tail in TAILS])


def bias(said: Floats) -> float:
    """Mean log-odds of the first answer."""
    return float((said[:, 0] - said[:, 1]).mean() / 2)


def length_slope(said: Floats, known: Floats) -> float:
    """Coefficient of the first column of `known` [asked, column] in the mean reading."""
    columns = np.column_stack([known, np.ones(len(known))])
    return float(np.linalg.lstsq(columns, said.mean(axis=(0, 1)), rcond=None)[0][0])


def recover(known: Reference, name: str, at: float) -> dict[str, Found]:
    """The three constants of a profile."""
    constants = load("judges.yaml")
    traits, noise, scales = constants["profiles"][name], constants["profiles"][name]["noise"][at], constants["scales"]
    level = {**traits, "first": 0.0, "pair": 0.0}
    judge = Judge(traits, noise, scales)
    said, silent = readings(known, judge), readings(known, Judge(level, SILENT, scales))
    errors = readings(known, Judge(level, noise, scales)) - silent
    seen = np.column_stack([apart(known), silent.mean(axis=(0, 1))])
    draws = resamples(known, len(said))
    return {
        # A wording drawn twice is no second wording, so φ has all of them in every draw.
        "phi": found(at, lambda w, rows: phi(errors[..., rows]), draws),
        "bias": found(traits["first"], lambda w, rows: bias(said[w][..., rows]), draws),
        "length": found(judge.likings()["length"], lambda w, rows: length_slope(said[w][..., rows], seen[rows]), draws),
    }


def apart(known: Reference) -> Floats:
    """[asked, column]: differences of the properties as judges see them (length is the first), and of words shared with the description."""
    texts = sorted({text for _, one, other in known.pairs for text in (one, other)})
    seen = dict(zip(texts, reader.see(texts)[:, : len(PROPERTIES)], strict=True))
    words = {text: reader.word_bits(text) for text in [*texts, *known.people.descriptions]}
    rows = []
    for person, pair in known.asked:
        told, (_, one, other) = words[known.people.descriptions[person]], known.pairs[pair]
        rows.append([*(seen[one] - seen[other]), (words[one] & told).bit_count() - (words[other] & told).bit_count()])
    return np.array(rows)


def resamples(known: Reference, wordings: int) -> list[tuple[Ints, Ints]]:
    """(wordings, rows): all of them first, then draws of people, prompts and wordings with replacement."""
    person = np.array([person for person, _ in known.asked])
    _, task = np.unique([known.pairs[pair][0] for _, pair in known.asked], return_inverse=True)
    dice = np.random.default_rng(0)
    draws = [(np.arange(wordings), np.arange(len(person)))]
    for _ in range(RESAMPLES):
        times = [np.bincount(dice.integers(0, size, size), minlength=size) for size in (person.max() + 1, task.max() + 1)]
        draws.append((dice.integers(0, wordings, wordings), np.repeat(np.arange(len(person)), times[0][person] * times[1][task])))
    return draws


def found(declared: float, metric: Callable[[Ints, Ints], float], draws: list[tuple[Ints, Ints]]) -> Found:
    """The metric of all, and quantiles over the draws."""
    value, *others = (metric(*draw) for draw in draws)
    low, high = np.quantile(others, [0.025, 0.975])
    return Found(declared, value, float(low), float(high))


def main() -> None:
    """All profiles with errors, at every φ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--prompts", type=int, default=80)
    given = parser.parse_args()
    known = reference(given.people, given.prompts)
    print("| judge | declared φ | found | bias | found | length | found |\n|---|---|---|---|---|---|---|")
    for name in ("small", "good"):
        for at in PHIS:
            cells = [f"{one.declared:.3f} | {one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in recover(known, name, at).values()]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
