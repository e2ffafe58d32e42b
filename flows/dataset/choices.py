"""What the choices of a build did: rows that each filter took, and pairs of answers that a pilot chose.

    filtered(manifest)  ->  [Filtered("prompts", considered=120, kept=100, reasons={"near_duplicate": 12, …}, other=0), …]
    chosen(store)       ->  Chosen(comparisons=300, pairs=600, effective=212.4, …), or None without a pilot

A comparison that was chosen with probability `inclusion` stands for 1 / inclusion pairs. `effective` is how many comparisons of one weight
would say as much about all pairs (Kish 1965): (sum of weights)² / sum of squared weights.
"""

from typing import NamedTuple

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.statistics import Floats
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.pilot import PilotPair

CHOOSING = ("personas", "prompts", "candidates", "pilot")  # the stages that leave texts out
REASONS = ("duplicate", "near_duplicate", "less_diverse", "below_floor")


class Filtered(NamedTuple):
    """One stage: what came in, what stayed, what went for each of REASONS, and what went for any other."""

    stage: str
    considered: int
    kept: int
    reasons: dict[str, int]
    other: int


class Chosen(NamedTuple):
    """Comparisons beside the pairs that they were chosen from. A disagreement is of two people about a pair, as the pilot expects it."""

    comparisons: int
    pairs: int
    effective: float
    inclusion: list[float]  # least, quartiles, largest
    dominated: int
    rated: int  # comparisons of which the pilot can say whether they are dominated
    of_chosen: Floats  # disagreements
    of_all: Floats


def filtered(found: Manifest) -> list[Filtered]:
    """The stages that leave texts out, as far as the dataset has them."""
    rows = []
    for stage in CHOOSING:
        if entry := found.stages.get(stage):
            reasons = {name: sum(n for reason, n in entry.rejected.items() if reason.split("/")[-1] == name) for name in REASONS}
            considered, kept = entry.considered, entry.kept
            if stage == "pilot":  # it counts its readings too
                considered = found.stages["candidates"].kept
                kept = considered - sum(reasons.values())
            rows.append(Filtered(stage, considered, kept, reasons, considered - kept - sum(reasons.values())))
    return rows


def chosen(store: Store) -> Chosen | None:
    """What the pilot found of all pairs, and which of them are compared."""
    pilot = tables.read(store, "pilot/part-*.parquet", PilotPair, ["disagreement"])
    compared = tables.read(store, "comparisons/part-*.parquet", Comparison, ["inclusion", "dominated", "disagreement"])
    if not pilot.height or not compared.height:
        return None
    weight = 1 / compared["inclusion"].to_numpy()
    return Chosen(
        comparisons=compared.height,
        pairs=pilot.height,
        effective=float(weight.sum() ** 2 / (weight**2).sum()),
        inclusion=[float(compared["inclusion"].quantile(share, "nearest") or 0) for share in (0, 0.25, 0.5, 0.75, 1)],
        dominated=int(compared["dominated"].sum() or 0),
        rated=compared["dominated"].count(),
        of_chosen=compared["disagreement"].drop_nulls().to_numpy(),
        of_all=pilot["disagreement"].drop_nulls().to_numpy(),
    )
