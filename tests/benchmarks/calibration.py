"""Fit the constants of the judges on one reference recipe. They were fitted once and frozen; this shows how, and gives the same again.

    python -m tests.benchmarks.calibration            what the frozen constants give on the reference
    python -m tests.benchmarks.calibration --fit      constants that meet the targets, as YAML for data/society/judges.yaml

Reference: 120 people of the preset `fspo-like`, every taste told, 80 shipped prompts, answers by four members in two views, pairs of six.
Targets for `small`: 56.7 % right when each order is decided alone, 73.1 % when the log-odds of both orders are averaged before deciding
(arXiv 2503.03064 on small judges, by its authors' summary, read second-hand); the same at every φ. Every taste is told there, so that
errors are the judge's and not what a description leaves open. `good` has a quarter of the error variance that `small` has and a third of
its position bias: a choice of ours.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import orjson
import yaml
from numpy.typing import NDArray

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society import Society, reader, told
from prefloom.flows.engines.society.data import load
from prefloom.flows.engines.society.judge import Asked, Judge
from prefloom.flows.engines.society.people import STRENGTHS, People, block_scale, plant, settings
from prefloom.prompts import load as template

Floats = NDArray[np.float64]
WRITERS = ("terse", "friendly", "scholar", "rambler")
VIEWS = ("a numbered list of steps, formal", "flowing prose with examples and some humour")
TEMPLATES = ("judge/pairwise", "judge/choice", "judge/reader")
PHIS = (0.25, 0.65, 0.9)
SINGLE, AVERAGED = 0.567, 0.731
SILENT = {"S": 0.0, "T": 0.0, "e": 0.0}
ONES = {"S": 1.0, "T": 1.0, "e": 1.0, "overlap": 0.15}


@dataclass
class Reference:
    """The reference recipe, in memory: people, and comparisons (prompt, one text, other text)."""

    people: People
    pairs: list[tuple[str, str, str]]
    asked: list[tuple[int, int]]  # (person, pair)
    gaps: Floats  # true utility of the one less that of the other, for each asked, in units of their standard deviation
    unit: float  # that standard deviation


def reference(people: int = 120, prompts: int = 80, each: int = 40, seed: int = 1) -> Reference:
    """Every person is asked about `each` pairs."""
    found = plant("fspo-like", people, seed, stated=1.0)
    seeds = (files("prefloom.data") / "seeds" / "prompts.jsonl").read_text().splitlines()
    tasks = [orjson.loads(line)["text"] for line in seeds][:: max(1, len(seeds) // prompts)][:prompts]
    pairs = []
    for task in tasks:
        texts: list[str] = []
        for writer in WRITERS:
            requests = [Request(template("candidate/answer").render(prompt=task, view=view), 512, 0.9, 1) for view in VIEWS]
            texts += [reply.text or "" for batch in Society(writer).answer(requests, lambda: False) for _, reply in batch]
        pairs += [(task, texts[i], texts[j]) for i in range(6) for j in range(i + 1, 6)]
    dice = np.random.default_rng(seed)
    asked = [(person, int(pair)) for person in range(people) for pair in dice.choice(len(pairs), min(each, len(pairs)), replace=False)]
    texts = sorted({text for _, one, other in pairs for text in (one, other)})
    place = {text: row for row, text in enumerate(texts)}
    values = found.utilities(texts)
    gaps = np.array([values[person, place[pairs[pair][1]]] - values[person, place[pairs[pair][2]]] for person, pair in asked])
    return Reference(found, pairs, asked, gaps / gaps.std(), float(gaps.std()))


def reads(known: Reference, judge: Judge, name: str, tail: str = "") -> tuple[Floats, Floats]:
    """Log-odds of the one answer, read first and read second, under a template with a `tail` to its words."""
    both = []
    for swapped in (False, True):
        asked = []
        for person, pair in known.asked:
            task, one, other = known.pairs[pair]
            first, second = (other, one) if swapped else (one, other)
            messages = template(name).render(persona=known.people.descriptions[person], prompt=task, first=first, second=second)
            passages, around = told(Request(messages, 1))
            asked.append(Asked(passages["first"], passages["second"], passages["persona"], around + tail))
        odds = np.array([verdict.log_odds for start in range(0, len(asked), 512) for verdict in judge.read(asked[start : start + 512])])
        both.append(-odds if swapped else odds)
    return both[0], both[1]


def accuracies(known: Reference, ab: Floats, ba: Floats) -> tuple[float, float]:
    """(share right when each order is decided alone, when their mean is)."""
    right = [np.mean((odds > 0) == (known.gaps > 0)) for odds in (ab, ba, ab + ba)]
    return float(right[0] + right[1]) / 2, float(right[2])


def spread(known: Reference, traits: Mapping[str, Any], scales: Mapping[str, float], noise: Mapping[str, float]) -> dict[str, Floats]:
    """template -> array (2 orders, asked) of log-odds per slope, without position bias."""
    judge = Judge({**traits, "slope": 1.0, "first": 0.0, "pair": 0.0, "obeys": 0.0}, noise, scales)
    return {name: np.stack(reads(known, judge, name)) for name in TEMPLATES}


def fit(known: Reference) -> dict[str, Any]:
    """scales and profiles that meet the targets."""
    profiles = {name: dict(traits) for name, traits in load("judges.yaml")["profiles"].items()}
    silent = spread(known, profiles["small"], ONES, SILENT)
    parts = {}
    for term in ("S", "T", "e"):
        loud = spread(known, profiles["small"], ONES, {**SILENT, term: 1.0})
        parts[term] = {name: loud[name] - silent[name] for name in TEMPLATES}
    # Scales are in the unit of true gaps, so that S = 1 is an error as large as what is to be read.
    scales = {term: float(np.std(np.stack(list(parts[term].values()))) / known.unit) for term in parts}
    scales = {**scales, "overlap": ONES["overlap"]}
    scales = {name: round(value, 4) for name, value in scales.items()}
    print("scales", scales, "unit", known.unit, file=sys.stderr)
    units = {term: {name: part / scales[term] for name, part in parts[term].items()} for term in parts}
    small, good = profiles["small"], profiles["good"]
    quiet = [accuracies(known, *silent[name])[1] for name in TEMPLATES]
    print("without errors", quiet, file=sys.stderr)
    sizes = {}
    for phi in PHIS:
        shares = {"S": phi, "T": (1 - phi) / 2, "e": (1 - phi) / 2}

        def averaged(size: float, shares: dict[str, float] = shares) -> float:
            return float(np.mean([accuracies(known, *_sum(silent, units, shares, size, name))[1] for name in TEMPLATES]))

        sizes[phi] = _solve(averaged, AVERAGED, 0.0, 8.0)
    small["noise"] = {phi: _noise(phi, sizes[phi]) for phi in PHIS}
    good["noise"] = {phi: _noise(phi, sizes[phi] / 2) for phi in PHIS}
    mid = sizes[0.65]
    shares = {"S": 0.65, "T": 0.175, "e": 0.175}
    base = _sum(silent, units, shares, mid, TEMPLATES[0])
    small["slope"] = _slope(known, base.mean(axis=0))
    good["slope"] = _slope(known, np.mean(_sum(silent, units, shares, mid / 2, TEMPLATES[0]), axis=0), 0.8)

    def single(bias: float) -> float:
        judge = Judge({**small, "first": bias, "pair": bias, "obeys": 0.0}, small["noise"][0.65], scales)
        return float(np.mean([accuracies(known, *reads(known, judge, name))[0] for name in TEMPLATES]))

    bias = _solve(single, SINGLE, 0.0, 20.0, steps=9)
    small["first"] = small["pair"] = round(float(bias), 3)
    good["first"] = good["pair"] = round(float(bias * good["slope"] / small["slope"] / 3), 3)
    return {"scales": scales, "profiles": profiles}


def _sum(silent: Any, units: Any, shares: Mapping[str, float], size: float, name: str) -> Floats:
    unit = sum(np.sqrt(share) * units[term][name] for term, share in shares.items())
    return np.asarray(silent[name] + size * unit)


def _noise(phi: float, size: float) -> dict[str, float]:
    rest = size * np.sqrt((1 - phi) / 2)
    return {"S": round(float(size * np.sqrt(phi)), 4), "T": round(float(rest), 4), "e": round(float(rest), 4)}


def _slope(known: Reference, margin: Floats, calibration: float = 0.5) -> float:
    """The slope at which a judge is over-confident: the logistic fit of what is right on its margin has this slope."""
    right = (known.gaps > 0).astype(float)
    b = 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-b * margin))
        b += ((right - p) * margin).sum() / (p * (1 - p) * margin**2).sum()
    return round(float(b / calibration), 3)


def _solve(rises_or_falls: Any, target: float, low: float, high: float, steps: int = 24) -> float:
    """Where a falling function meets the target."""
    for _ in range(steps):
        middle = (low + high) / 2
        if rises_or_falls(middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def phi(errors: Floats) -> float:
    """Share of the variance of errors [wording, order, asked] that wordings and orders have in common."""
    wordings = len(errors)
    centred = errors - errors.mean(axis=2, keepdims=True)
    flat = centred.reshape(2 * wordings, -1)
    products = flat @ flat.T / flat.shape[1]
    place = np.arange(2 * wordings)
    apart = (place[:, None] // 2 != place // 2) & (place[:, None] % 2 != place % 2)
    return float(products[apart].mean() / np.trace(products) * 2 * wordings)


def persistent(known: Reference, traits: Mapping[str, Any], scales: Mapping[str, float], noise: Mapping[str, float]) -> float:
    """φ of all error against the truth: what a description leaves open, and what the judge's scorers see otherwise, is in it too."""
    said = np.array(list(spread(known, traits, scales, noise).values()))
    mean = said.mean(axis=(0, 1))
    return phi(said - (mean @ known.gaps) / (known.gaps @ known.gaps) * known.gaps)


def vocabulary(preset: str, people: int = 600) -> str:
    """How much of the language of planted people judges know: levels heard right, and what a life alone makes them guess."""
    given, tastes = settings(preset), np.zeros((2, people, len(PROPERTIES)))
    for row, stated in zip(tastes, (1.0, 0.0), strict=True):
        found = plant(preset, people, 1, stated=stated)
        row[:] = found.linear / np.sqrt(1 - given["bends"] - given["hidden"]) / block_scale(given["values"])
        read = [reader.read(description) for description in found.descriptions]
        if stated:
            levels = np.abs(row[..., None] - STRENGTHS).argmin(axis=-1) - 2
            heard = np.mean(levels == np.array([one.levels for one in read]))
    guessed = np.corrcoef(np.array([one.guessed for one in read]).ravel(), tastes[1].ravel())[0, 1]
    common = np.array([load("people.yaml")["common"].get(name, 0.0) for name in PROPERTIES])
    alike = common @ reader.anybody() / np.linalg.norm(common) / np.linalg.norm(reader.anybody())
    return f"{preset}: {heard:.1%} of levels heard right; guesses from a life alone r = {guessed:.2f}; anybody · common {alike:.2f}"


def main() -> None:
    """Fit, or say what the frozen judges give."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    known = reference()
    constants = fit(known) if options.fit else load("judges.yaml")
    if options.fit:
        print(yaml.safe_dump(constants, sort_keys=False, width=150, default_flow_style=None))
    print(f"{'profile':8} {'phi':>5} {'one order':>10} {'averaged':>9} {'if clear':>9} {'all templates':>14} {'persistent':>11}")
    for name, traits in constants["profiles"].items():
        for at in traits["noise"] or (0.65,):
            judge = Judge(traits, traits["noise"].get(at, SILENT), constants["scales"])
            found = [reads(known, judge, one) for one in TEMPLATES]
            single, averaged = np.mean([accuracies(known, *both) for both in found], axis=0)
            noise = traits["noise"].get(at, SILENT)
            right = [(total > 0) == (known.gaps > 0) for total in (*(ab + ba for ab, ba in found), sum(ab + ba for ab, ba in found))]
            clear = np.mean(right[:-1], axis=0)[np.abs(known.gaps) >= 0.5].mean()
            rest = f"{persistent(known, traits, constants['scales'], noise):11.2f}"
            print(f"{name:8} {at:5} {single:10.3f} {averaged:9.3f} {clear:9.3f} {right[-1].mean():14.3f} {rest}")
    print(*(vocabulary(preset) for preset in load("people.yaml")["presets"]), sep="\n")


if __name__ == "__main__":
    main()
