"""What the checks of labels are worth: risk by coverage of our confidence, of chance, and of a selector that knows the truth of others.

    python -m tests.benchmarks.selection --circles      how often three labels of one person go in a circle; a few seconds
    python -m tests.benchmarks.selection [--seeds 1 2 3 4 5] [--phis .25 .65 .9] [--templates 5] [--preset fspo-like] [--judge small]

Readings of readings.py: no check has touched them. For each φ, over all seeds: how often one order is right, one order less the judge's
mean bias, both orders, and all templates; then accuracy of the surest 60 % of the labels by each rule. Intervals: 95 % over 200 resamples
of personas and of prompts, both at once, the seeds fixed. `closed` is the share of the way from random dropping to the reference. Constants
of flows/dataset/confidence.py were chosen on societies 101 to 103 alone. About four minutes; Markdown.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import orjson
import polars as pl

from prefloom.flows.dataset.confidence import Traces, confidence, fit
from prefloom.flows.dataset.transitivity import circles, share
from prefloom.flows.engines.society.judge import profile
from prefloom.flows.engines.society.people import plant
from prefloom.flows.steps.audit_evidence import Floats, Ints
from prefloom.flows.steps.audit_measures import score
from prefloom.flows.steps.audit_selector import COVERAGE, features, raw_orders, reference, surest
from tests.benchmarks.readings import PHIS, TEMPLATES, Readings, answers_of, both_orders, load

RESAMPLES = 200
COVERAGES = (0.2, 0.4, 0.6, 0.8)
RULES = ("random", "margin", "confidence", "reference")


@dataclass(frozen=True)
class Society:
    """One society under one φ: what is right by each way of reading, which labels each rule keeps, and for whom on what."""

    right: dict[str, Floats]  # nan where not counted
    persona: Ints
    prompt: Ints
    curve: dict[tuple[str, float], float]
    notes: tuple[float, float, float, float]  # length, calm, what the raw gate keeps, and how much of it is right


def traces(known: Readings, templates: int) -> Traces:
    """What the readings under the first templates left behind."""
    reads = known.reads[:, :templates]
    each, bias = reads.mean(axis=2), (reads[:, :, 0] - reads[:, :, 1]) / 2
    margin = each.mean(axis=1)
    scatter = ((each - margin[:, None]) ** 2).sum(axis=1)
    count = np.full(len(margin), templates)
    return Traces(margin.round(4), (bias - bias.mean(axis=0)).mean(axis=1), count, scatter, known.longer, known.comparison)


def society(preset: str, phi: float, seed: int, templates: int, judge: str = "small") -> Society:
    """Read, fit, rank."""
    known = load(preset, phi, seed, profile_name=judge)
    known = known.only(np.isfinite(known.reads[:, :templates]).all(axis=(1, 2)))
    reads, target = known.reads[:, :templates], known.truth
    left = traces(known, templates)
    fitted = fit(left)
    alone = reads - np.stack([bias := ((reads[:, :, 0] - reads[:, :, 1]) / 2).mean(axis=0), -bias], axis=1)
    right = {
        "one order": score(reads, target[:, None, None]).mean(axis=(1, 2)),
        "one order, mean bias removed": score(alone, target[:, None, None]).mean(axis=(1, 2)),
        "both orders": score(reads.mean(axis=2), target[:, None]).mean(axis=1),
        "all templates": score(left.margin, target),
    }
    generic = np.nan_to_num(known.generic.mean(axis=1))[known.comparison]
    sure = reference(features(reads, known.longer, known.comparison, known.persona, generic), right["all templates"], known.persona)
    assert sure is not None
    dice = np.random.default_rng(seed).random(len(target))
    ranks = {"random": dice, "margin": np.abs(left.margin), "confidence": confidence(left, fitted), "reference": sure}
    kept = {(rule, share): surest(values, share) for rule, values in ranks.items() for share in COVERAGES}
    for rule in RULES:
        right[rule] = np.where(kept[rule, COVERAGE], right["all templates"], np.nan)
    curve = {key: float(right["all templates"][rows].mean()) for key, rows in kept.items()}
    raw = raw_orders(reads, right["all templates"])
    return Society(right, known.persona, known.prompt, curve, (fitted.length, fitted.calm, raw["kept"], raw["accuracy"]))


def intervals(societies: list[Society]) -> dict[str, tuple[float, float, float]]:
    """Each accuracy, and what is made of them, with the ends of its interval."""
    names = list(societies[0].right)
    sums = [[cells(one.right[name], one.persona, one.prompt) for name in names] for one in societies]  # (2, personas, prompts) each
    values = []
    for draw in range(RESAMPLES + 1):
        totals = np.zeros((len(names), 2))
        for number, each in enumerate(sums):
            dice, (_, people, tasks) = np.random.default_rng([draw, number]), each[0].shape
            who, what = (np.bincount(dice.integers(0, size, size), minlength=size) if draw else np.ones(size) for size in (people, tasks))
            totals += [who @ cell @ what for cell in each]
        shares = dict(zip(names, totals[:, 0] / totals[:, 1], strict=True))
        shares["behind"] = shares["reference"] - shares["confidence"]
        shares["closed"] = (shares["confidence"] - shares["random"]) / (shares["reference"] - shares["random"])
        shares["margin closed"] = (shares["margin"] - shares["random"]) / (shares["reference"] - shares["random"])
        values.append(list(shares.values()))
    drawn = np.array(values)
    low, high = np.quantile(drawn[1:], [0.025, 0.975], axis=0)
    return {name: (drawn[0, i], low[i], high[i]) for i, name in enumerate(shares)}


def cells(right: Floats, persona: Ints, prompt: Ints) -> Floats:
    """(how much is right, how much is counted) of each persona on each prompt."""
    found = np.zeros((2, int(persona.max()) + 1, int(prompt.max()) + 1))
    counted = np.isfinite(right)
    np.add.at(found[0], (persona[counted], prompt[counted]), right[counted])
    np.add.at(found[1], (persona[counted], prompt[counted]), 1.0)
    return found


def circling(preset: str, phi: float, seed: int, judge: str) -> dict[str, str]:
    """How often three labels of one person on three answers go in a circle: one order, both orders; and how good the weakest is."""
    lines = (files("prefloom.data") / "seeds" / "prompts.jsonl").read_text().splitlines()[:40]
    people = plant(preset, 60, seed)
    texts = [text for line in lines for text in answers_of(orjson.loads(line)["text"], seed)[::3]]
    sides = ((0, 1), (1, 2), (0, 2))
    asked = np.array([(who, 3 * task + a, 3 * task + b) for who in range(60) for task in range(len(lines)) for a, b in sides])
    odds = np.nan_to_num(both_orders(profile(judge, phi), TEMPLATES[0], people, texts, asked)[0])
    utilities = people.utilities(texts)
    truth = utilities[asked[:, 0], asked[:, 1]] - utilities[asked[:, 0], asked[:, 2]]
    said = {
        "one order": odds[:, 0],
        "less the mean bias": odds[:, 0] - (odds[:, 0] - odds[:, 1]).mean() / 2,
        "both orders": odds.mean(axis=1),
    }
    found = {}
    for name, margin in said.items():
        ids = {"persona_id": asked[:, 0], "comparison_id": np.arange(len(asked)), "prompt_id": asked[:, 1] // 3}
        ids |= {"candidate_a": asked[:, 1], "candidate_b": asked[:, 2]}
        rows = pl.DataFrame({column: [f"{value:06}" for value in values] for column, values in ids.items()} | {"margin": margin})
        turns, triads = share(rows)
        weakest = [int(value) for value in circles(rows)["comparison_id"]]
        right = f"{score(margin, truth)[weakest].mean():.1%}" if weakest else "–"
        found[name] = f"{turns / triads:.1%} of {triads:,} ({right} of the weakest are right, {score(margin, truth).mean():.1%} of all)"
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--phis", type=float, nargs="+", default=PHIS)
    parser.add_argument("--templates", type=int, default=5)
    parser.add_argument("--preset", default="fspo-like")
    parser.add_argument("--judge", default="small")
    parser.add_argument("--circles", action="store_true")
    given = parser.parse_args()
    if given.circles:
        every = {str(phi): circling(given.preset, phi, given.seeds[0], given.judge) for phi in given.phis}
        table("circles", list(every), lambda name, phi: every[phi][name], list(every[str(given.phis[0])]))
        return
    found = {phi: [society(given.preset, phi, seed, given.templates, given.judge) for seed in given.seeds] for phi in given.phis}
    each = {phi: intervals(societies) for phi, societies in found.items()}
    print(f"{given.preset}, judge {given.judge}, {given.templates} templates, seeds {given.seeds}\n")
    table("right, in %", [str(phi) for phi in each], lambda name, phi: percent(each[float(phi)][name]), list(each[given.phis[0]]))
    print()
    for phi, societies in found.items():
        cells = {key: float(np.mean([one.curve[key] for one in societies])) for key in societies[0].curve}
        columns = [f"{share:.0%}" for share in COVERAGES]
        table(f"φ {phi}, kept", columns, lambda rule, at, cells=cells: f"{100 * cells[rule, float(at[:-1]) / 100]:.1f}", list(RULES))  # type: ignore[misc]
        length, calm, kept, right = np.mean([one.notes for one in societies], axis=0)
        print(f"\nlength {length:.2f}, calm {calm:.2f}; the raw gate keeps {kept:.1%}, of which {right:.1%} are right\n")


def table(title: str, columns: list[str], cell: Callable[[str, str], str], rows: list[str]) -> None:
    """Markdown."""
    print(f"| {title} | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
    for row in rows:
        print(f"| {row} | " + " | ".join(cell(row, column) for column in columns) + " |")


def percent(value: tuple[float, float, float]) -> str:
    """A share with the ends of its interval, in per cent."""
    middle, low, high = (100 * x for x in value)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
