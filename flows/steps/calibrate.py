"""Calibration: from a few hundred labels whose truth is known to the probability that a label is right.

    calibrate(Run(Path("data/runs/demo-3b9c…")), Path("gold.csv"), Path("calibration.json"))  ->  Calibration(slope=0.31, bend=0.42, …)

    logit P(a is preferred) = slope · margin + bend · sign(margin) · log(1 + |margin|),  slope, bend >= 0

Maximum likelihood with a ridge of RIDGE on both. There is no constant, and the map is odd in the margin, because which answer is called a
is an accident of its id. `bend` is there for judges that are too sure of their large margins. The number of readings and their spread were
tried as further terms and made the map no better on people and prompts that it had not seen (docs/reading.md).

Gold is a file as `prefloom audit --gold` reads it. Only labels of one split are used, `validation` unless told; of more than `most` those
with the lowest hash.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.dataset import calibrations, manifest
from prefloom.flows.dataset.inputs import file_sha256
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.steps import audit_gold
from prefloom.flows.steps.audit_evidence import Bools, Evidence, Floats, load
from prefloom.flows.steps.audit_measures import calibration as measured
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.reading import Calibration
from prefloom.schemas.section import portable

RIDGE = 10.0
FEWEST = 30  # labels, below which nothing is fitted
EVERY = "all"  # stands for every split


def calibrate(run: Run, gold: Path, out: Path, most: int = 500, split: str = "validation") -> Calibration:
    """Fit the map on the labels that the gold file speaks of, and write it."""
    _expect_free(out, gold, run)
    found = manifest.load(run.store)
    recipe = manifest.recipe_of(run.store, found)
    choices = audit_gold.read(gold)
    evidence = load(run.store)
    target, _, _ = audit_gold.targets(choices, gold, evidence)
    fit_for = np.isfinite(target) & in_split(evidence, split, str(gold))
    if (count := int(fit_for.sum())) < FEWEST:
        where = f"labels of the split {split}" if split != EVERY else "labels"
        raise InputError(str(gold), found=f"choices about {count} {where}", expected=f"at least {FEWEST}; --split all takes every label")
    rows = fewer(evidence, np.flatnonzero(fit_for), most)
    margin, choice = evidence.margin[rows], target[rows]
    slope, bend = fit(margin, (1 + choice) / 2)
    odds = calibrations.features(margin) @ np.array([slope, bend])
    own = measured(margin, 1 / (1 + np.exp(-odds)), choice)
    raw = measured(margin, evidence.probability[rows], choice)
    names = [portable(name) for name in recipe.judgements.templates]
    known = Calibration(
        slope=slope,
        bend=bend,
        judge=found.models[recipe.judgements.model],
        templates=[(name, found.templates[name]) for name in names],
        adaptive=recipe.judgements.adaptive,
        dataset=f"{found.name}-{found.fingerprint}",
        split=split,
        gold=file_sha256(gold),
        labels=len(rows),
        brier=round(own["brier"], 4),
        expected_error=round(own["expected_error"], 4),
        raw_brier=round(raw["brier"], 4),
        raw_expected_error=round(raw["expected_error"], 4),
    )
    text = known.model_dump_json(indent=1).encode() + b"\n"
    Store(str(out.absolute().parent)).publish(out.name, lambda file: file.write(text))
    return known


def _expect_free(out: Path, gold: Path, run: Run) -> None:
    """InputError where the map would take the place of something else: of the choices, of a dataset's file, of any file that is no map."""
    target = out.absolute()
    if target == gold.absolute() or (run.store.local and run.folder.absolute() in target.parents):
        raise InputError("--out", found=str(out), expected="a file of its own, outside the dataset")
    if target.exists():
        calibrations.load(out)


def in_split(evidence: Evidence, split: str, where: str) -> Bools:
    """Labels of a split. InputError for one that the dataset has not."""
    if split == EVERY:
        return np.ones(len(evidence.margin), dtype=bool)
    if split not in evidence.names.splits:
        raise InputError(where, "split", found=f"'{split}'", expected=f"{EVERY} or one of {', '.join(evidence.names.splits)}")
    found: Bools = evidence.split == evidence.names.splits.index(split)
    return found


def fewer(evidence: Evidence, rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of these labels, by hash of persona and comparison, in their order."""
    ids = evidence.names
    dice = draw(
        0,
        "gold",
        keys(ids.personas[i] for i in evidence.persona[rows]),
        keys(ids.comparisons[i] for i in evidence.comparison[rows]),
    )
    return np.sort(rows[np.argsort(dice, kind="stable")[:most]])


def fit(margin: Floats, truly: Floats) -> tuple[float, float]:
    """(slope, bend) to 4 digits; `truly` is 1 where a is preferred, 0 where b is, 0.5 where they are torn. Neither is below 0."""
    columns = calibrations.features(margin)
    free = [0, 1]
    weights = np.zeros(2)
    while free:
        weights[free] = _ridge(columns[:, free], truly)
        if (weights >= 0).all():
            break
        worst = int(np.argmin(weights))  # a map that falls with the margin would call sure labels unsure
        free.remove(worst)
        weights[:] = 0.0
    return round(float(weights[0]), 4), round(float(weights[1]), 4)


def _ridge(columns: Floats, truly: Floats) -> Floats:
    """Newton's method on the penalised log-likelihood, whose only maximum it is; half a step where a whole one would go too far."""
    penalty = RIDGE * np.eye(columns.shape[1])

    def loss(weights: Floats) -> float:
        odds = columns @ weights
        return float((np.logaddexp(0, odds) - truly * odds).sum() + RIDGE * (weights @ weights) / 2)

    weights = np.zeros(columns.shape[1])
    for _ in range(100):
        p = 0.5 * (1 + np.tanh(0.5 * columns @ weights))
        gradient = columns.T @ (truly - p) - RIDGE * weights
        step = np.linalg.solve((columns * (p * (1 - p))[:, None]).T @ columns + penalty, gradient)
        before = loss(weights)
        while loss(weights + step) > before and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def text(known: Calibration, out: Path) -> str:
    """What was fitted, for a terminal."""
    return "\n".join(
        [
            f"{out}: {known.labels:,} labels of the split {known.split}, judge {known.judge}",
            f"logit P(a) = {known.slope:g} · margin + {known.bend:g} · sign(margin) · log(1 + |margin|)",
            f"on these labels themselves: expected error {known.expected_error:.1%} (raw {known.raw_expected_error:.1%}),",
            f"Brier {known.brier:.3f} (raw {known.raw_brier:.3f}); on others a little more",
        ]
    )
