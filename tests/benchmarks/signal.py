"""Do the measures of persona signal tell persons from noise? Societies whose tastes are planted, two judges, three φ, several seeds.

    python -m tests.benchmarks.signal                      the tables of docs/signal.md: 30 datasets, about 6 minutes on one core
    python -m tests.benchmarks.signal --seeds 1 --users 30 --prompts 20 --judge good --phi 0.65

Every dataset is built by the stages of a recipe with controls and audited. Three populations are measured on its readings:

persona judge   as the dataset has it
shuffled        every reading is that of another persona who reads the same comparison, drawn anew for each reading
no persona      every persona says what the judge says for nobody

A figure is the mean over seeds (each another society, other candidates), in brackets the lowest and the highest of them. The last table
asks what the measures cannot see: personas whose descriptions say nothing about their tastes.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prefloom.flows.dataset import signal, stages
from prefloom.flows.dataset import signal_measures as measures
from prefloom.flows.dataset.evidence import Evidence, load
from prefloom.flows.dataset.heterogeneity import Floats
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.signal_measures import Reads
from prefloom.flows.engines import keep_truth
from prefloom.flows.steps import freshness
from prefloom.flows.steps.audit import audit
from tests.helpers import make, resolved

JUDGES, PHIS, STATED = ("small", "good"), (0.25, 0.65, 0.9), 0.7
TEMPLATES = ["judge/pairwise", "judge/reader"]
MEMBERS = ("terse", "friendly", "scholar")
VIEWS = ["a numbered list of steps, formal", "flowing prose with examples and some humour"]


def build(folder: Path, judge: str, phi: float, seed: int, users: int, prompts: int, stated: float = STATED) -> Run:
    """A finished dataset with all controls, its truth kept."""
    changes: dict[str, Any] = {
        "name": "signal",
        "seed": seed,
        "models": {name: {"engine": "society", "character": name} for name in MEMBERS}
        | {"judge": {"engine": "society", "character": judge, "phi": phi}},
        "personas": [{"source": "society", "count": users, "stated": stated}],
        "prompts": [{"source": "seeds", "count": prompts}],
        "candidates": {"source": "models", "models": list(MEMBERS), "views": VIEWS},
        "comparisons": {"per_prompt": 2},
        "judgements": {"model": "judge", "templates": TEMPLATES},
        "controls": {"shuffled": 0.5, "repeats": 0.05},
    }
    run = Run.create(folder, resolved(**changes))
    run.store_recipe()
    keep_truth(run)
    for stage in stages.of(run.resolved.recipe):
        make(run, stage.name)
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run


def shuffled(reads: Reads, seed: int) -> Reads:
    """Every reading is that of another reader of its comparison, each replicate drawing anew."""
    dice, values = np.random.default_rng(seed), reads.values.copy()
    for comparison in np.unique(reads.comparison):
        rows = np.flatnonzero(reads.comparison == comparison)
        for replicate in range(values.shape[1]):
            circle = dice.permutation(rows)
            values[circle, replicate] = reads.values[np.roll(circle, 1), replicate]
    return replace(reads, values=values)


def figures(reads: Reads, moved: Floats) -> dict[str, float]:
    """M11, M15 and M16 of one population; `moved` are readings under another's description, of its rows."""
    return {
        "M11": measures.components(reads).reliability,
        "M15": measures.over_majority(reads).advantage,
        "M16": float(measures.sensitivity(reads.values, moved).mean()),
    }


def populations(found: Evidence, seed: int) -> dict[str, dict[str, float]]:
    """The three, from one dataset's readings."""
    own, moved = found.shuffled
    general, said = found.generic
    nobody = replace(general, values=np.repeat(said[:, None], general.values.shape[1], axis=1))
    mixed = shuffled(found.leanings, seed)
    return {
        "persona judge": figures(found.leanings, found.leanings.values) | {"M16": float(measures.sensitivity(own.values, moved).mean())},
        "shuffled": figures(mixed, shuffled(found.leanings, seed + 1000).values),
        "no persona": figures(nobody, nobody.values),
    }


def spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def one(judge: str, phi: float, given: argparse.Namespace, stated: float = STATED) -> dict[str, list[float]]:
    """figure -> its value in each seed."""
    rows: dict[str, list[float]] = {}
    for seed in range(1, given.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = build(Path(folder), judge, phi, seed, given.users, given.prompts, stated)
            found = load(run.store)
            beside = audit(run)["truth"]["generic"]
            panel = signal.measure(found)
        here = {f"{name} {who}": value for who, part in populations(found, seed).items() for name, value in part.items()}
        here |= {name: beside[name]["value"] for name in beside}
        here |= {"re-test": panel.retest.value, "re-test reliability": panel.retest_reliability, "inconsistent": panel.inconsistent.value}
        here |= {"M16 low": panel.sensitivity.low, "M11 low": panel.reliability.low, "over generic": panel.over_generic.value}
        here |= {"personal": float(panel.kind == "personal")}
        for name, value in here.items():
            rows.setdefault(name, []).append(value)
        print(f"{judge} {phi} stated {stated} seed {seed}", {k: round(v, 3) for k, v in here.items()}, file=sys.stderr, flush=True)
    return rows


def table(found: dict[str, dict[str, list[float]]], rows: Sequence[str]) -> str:
    """Markdown: a row for each figure, a column for each dataset."""
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    return "\n".join(lines + [f"| {row} | " + " | ".join(spread(part[row]) for part in found.values()) + " |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--judge", choices=JUDGES, action="append")
    parser.add_argument("--phi", type=float, action="append")
    parser.add_argument(
        "--stated", type=float, action="append", help="shares of the tastes that descriptions tell; several for the last table"
    )
    given = parser.parse_args()
    for judge in given.judge or JUDGES:
        found = {f"φ {phi:g}": one(judge, phi, given) for phi in given.phi or PHIS}
        names = [name for name in next(iter(found.values())) if not name.endswith("low")]
        print(f"## {judge}\n\n{table(found, names)}\n", flush=True)
    silent = {f"stated {stated:g}": one("small", 0.65, given, stated) for stated in given.stated or (0.0, 0.3, 1.0)}
    rows = ["M11 persona judge", "M15 persona judge", "M16 persona judge", "label", "generic"]
    print(f"## small, φ 0.65, by what descriptions tell\n\n{table(silent, rows)}")


if __name__ == "__main__":
    main()
