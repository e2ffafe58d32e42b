"""How often the labels of a finished dataset are right, held against planted tastes or against the choices of people.

    audit(Run(Path("data/runs/demo-3b9c…")))["truth"]["accuracy"]["prompts"]   ->  {"value": 0.71, "low": 0.70, "high": 0.72, "of": 38995}

The figures go into `audit.json` in the run folder (dataset/audits.py).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.dataset import audits, manifest
from prefloom.flows.dataset.inputs import file_sha256
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.engines.society import truth as planted
from prefloom.flows.steps import audit_errors as errors
from prefloom.flows.steps import audit_generic, audit_gold
from prefloom.flows.steps import audit_measures as measures
from prefloom.flows.steps import audit_selector as selector
from prefloom.flows.steps.audit_evidence import Evidence, Floats, Ints, Truth, clusters, differences, load
from prefloom.flows.steps.calibrate import fewer, in_split
from prefloom.schemas.errors import InputError

MOST_LABELS = 250_000  # that are held against the truth: intervals are narrower than matters, and every measure takes its copies


def audit(run: Run, gold: Path | None = None) -> dict[str, Any]:
    """Measure, and keep the figures in audit.json; those of an earlier gold file stay if this time none is given."""
    found = manifest.load(run.store)
    choices = audit_gold.read(gold) if gold else []  # a mistake in the file is said before anything is computed
    whole = "a whole dataset; `prefloom build` makes the file again"
    if lost := next((file.path for file in found.files if not run.store.exists(file.path)), None):
        raise InputError(f"{run.store.url}/{lost}", found="no such file", expected=whole)
    truth, missing = _truth(run)
    if missing and not gold:
        raise missing
    measured, evidence = audits.digest(run.store), load(run.store)
    figures: dict[str, Any] = {
        "dataset": f"{found.name}-{found.fingerprint}",
        "truth": against_truth(evidence, truth, run.store.url) if truth else None,
        "gold": against_gold(evidence, choices, gold) if gold else audits.read(run.store).get("gold"),
    }
    return audits.write(run.store, measured, figures)


def truth_of(run: Run) -> Truth:
    """The planted tastes behind a run. InputError where there are none."""
    return planted.Truth.of(run)


def write_gold(run: Run, path: Path, most: int = 500, split: str = "validation") -> int:
    """Write what people with planted tastes would choose, as a file of choices for `calibrate`; how many rows there are.

    Labels that nothing has checked, as people would be asked: by hash, whether the judge is right about them or not.
    """
    evidence, truth = load(run.store), truth_of(run)
    difference = differences(evidence, truth)
    rows = fewer(evidence, np.flatnonzero(np.isfinite(difference) & (difference != 0) & in_split(evidence, split, str(path))), most)
    if not len(rows):
        raise InputError(str(path), "split", found=f"no label of a person with planted tastes in {split}", expected="at least one")
    ids = evidence.names
    lines = [
        f"{ids.comparisons[evidence.comparison[i]]},{'a' if difference[i] > 0 else 'b'},{ids.personas[evidence.persona[i]]}\n" for i in rows
    ]
    content = "".join(["comparison_id,choice,persona_id\n", *lines]).encode()
    Store(str(path.absolute().parent)).publish(path.name, lambda file: file.write(content))
    return len(rows)


def _truth(run: Run) -> tuple[Truth | None, InputError | None]:
    """The planted tastes behind a run, or why there are none."""
    try:
        return truth_of(run), None
    except InputError as error:
        return None, InputError(error.where, error.field, found=error.found, expected=f"{error.expected}; or give --gold FILE")


def against_truth(evidence: Evidence, truth: Truth, where: str = "") -> dict[str, Any]:
    """Every figure, with du = u(a) - u(b) of the planted tastes as the target.

    du is given in units of its s.d. over the labels, taken about zero, because which answer is called a is an accident of its id. Labels of
    people whose tastes were not planted are left out, and counted. Of more labels than MOST_LABELS those of some personas are looked at.
    """
    every, heard = len(evidence.margin), some_people(evidence)
    evidence = evidence.only(heard[evidence.persona])
    raw = differences(evidence, truth)
    planted = np.isfinite(raw)
    if not planted.any():
        raise InputError(where, found="no label of a person with planted tastes", expected="at least one; or give --gold FILE")
    scale = float(np.sqrt((raw[planted] ** 2).mean())) or 1.0
    mine, difference = evidence.only(planted), raw[planted] / scale
    people = heard & np.isin(evidence.names.personas, truth.persona_ids)
    found = against(mine, difference, asked=int(people[evidence.asked[:, 0]].sum()))
    found["coverage"] |= {"every": every} if len(evidence.margin) < every else {}
    cluster = clusters(mine, truth.clusters)
    named = {i: str(i) for i in range(int(cluster.max(initial=0)) + 1)} | {-1: "none"}
    shifted = {i + 1: name for i, name in named.items()}
    right = measures.score(mine.margin, difference)
    found |= {
        "society": truth.society,
        "scale": scale,
        "clusters": measures.grouped(cluster + 1, shifted, right, mine.prompt),
        "common": errors.common(mine.reads, difference, mine.comparison),
    }
    return found | errors.against_differences(mine.margin, difference, mine.bias, mine.longer, mine.kept, mine.comparison, mine.prompt)


def some_people(evidence: Evidence) -> NDArray[np.bool_]:
    """Which personas are looked at, in the order of their names: those with the lowest ids, which are hashes, up to MOST_LABELS labels."""
    order = np.argsort(evidence.names.personas)
    up_to = np.cumsum(np.bincount(evidence.persona, minlength=len(order))[order])
    heard = np.zeros(len(order), dtype=np.bool_)
    heard[order] = up_to <= max(MOST_LABELS, up_to[0])
    return heard


def against_gold(evidence: Evidence, choices: list[audit_gold.GoldRow], path: Path) -> dict[str, Any]:
    """The same against choices of people, without what needs to know how much better an answer is."""
    target, counts, asked = audit_gold.targets(choices, path, evidence)
    known = np.isfinite(target)
    mine = evidence.only(known)
    found = against(mine, target[known], asked)
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "choices": counts,
        "bias": errors.position(mine.bias, mine.comparison, None, mine.prompt),
    } | found


def against(mine: Evidence, target: Floats, asked: int) -> dict[str, Any]:
    """What can be measured against a target whose sign alone is known."""
    right, names = measures.score(mine.margin, target), mine.names
    parts = {"accuracy": right, "longer_wins": measures.score(mine.longer, target), "majority": measures.score(mine.others, target)}
    by_prompt, n = measures.shares(parts, mine.prompt), len(right)

    def groups(codes: Ints, called: list[str]) -> measures.Row:
        return measures.grouped(codes, dict(enumerate(called)), right, mine.prompt)

    traits = selector.features(mine.reads, mine.longer, mine.comparison, mine.persona)
    sure = selector.reference(traits, right, mine.persona)
    domains = groups(mine.domain, names.domains)
    for row in domains["rows"]:
        row["name"] = row["name"][:200]  # anybody's file may have written it
    return {
        "coverage": {"asked": asked, "labels": n, "share": n / asked if asked else math.nan, "people": len(np.unique(mine.persona))},
        "accuracy": {"prompts": by_prompt["accuracy"], "personas": measures.shares({"accuracy": right}, mine.persona)["accuracy"]},
        "ties": {"margin": int((mine.margin == 0).sum()), "target": int((target == 0).sum())},
        "generic": audit_generic.beside(mine, target),
        "baselines": {name: by_prompt[name] for name in ("longer_wins", "majority")},
        "orders": errors.orders(mine.reads, names.readers, mine.margin, target, mine.prompt),
        "risk_coverage": measures.risk_coverage(np.abs(mine.margin), right),
        "selection": selector.selection(mine.confidence, mine.margin, sure, right, mine.prompt),
        "raw_orders": selector.raw_orders(mine.reads, right),
        "calibration": measures.calibration(mine.margin, mine.probability, target),
        "believed": measures.believed(
            {"raw": mine.probability, "calibrated": mine.calibrated}, mine.margin, target, mine.domain, names.domains
        ),
        "templates": errors.templates(mine.reads, mine.margin, target, mine.prompt),
        "by_margin": measures.binned(np.abs(mine.margin), measures.MARGIN_EDGES, right),
        "personas": measures.personas(mine.persona, names.personas, names.descriptions, right),
        "domains": domains,
        "splits": groups(mine.split, names.splits),
        "checks": measures.checks(mine.reason, names.reasons, mine.kept, mine.margin, right),
        "preferences": measures.shares({"accuracy": right[mine.kept]}, mine.prompt[mine.kept])["accuracy"],
    }
