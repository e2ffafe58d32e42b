"""Is it personal? How much of a finished dataset's labels comes from its personas, by its own readings; no truth is used.

    python -m prefloom.flows.dataset.signal data/runs/demo-3b9c…       ->  one JSON object
    measure(load(Store("data/runs/demo-3b9c…"))).reliability           ->  Estimate(0.71, 0.66, 0.75)      M11

Replicates are the templates, where there are two or more and most labels were read in all of them; otherwise the two orders of one
template, each less the judge's mean bias and, where signs are counted, less what the order does to the other personas on that comparison (a
label averages both orders, so that neither is in it). Readings once more and under another's description are there if the recipe has
`controls`. Intervals are 95 %, from drawing personas and prompts anew. A dataset whose personas do no more than noise does is called
"generic preference".
"""

import json
import sys
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from prefloom.flows.dataset import signal_measures as measures
from prefloom.flows.dataset.evidence import Evidence, load
from prefloom.flows.dataset.heterogeneity import Estimate, Floats
from prefloom.flows.dataset.signal_measures import Reads
from prefloom.flows.dataset.store import Store
from prefloom.schemas.controls import SignalLimits
from prefloom.schemas.errors import InputError

WORTH = 0.1  # a sensitivity to the persona that is worth having
DOUBTFUL = 0.5  # a reliability below it is warned of
QUANTILES = (0.05, 0.5, 0.95)
NONE = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Signal:
    """The panel. What was not read is nan."""

    replicates: str
    count: int
    labels: int
    of: int
    personas: int
    reliability: Estimate  # M11 of one replicate
    label_reliability: Estimate  # of the mean of all replicates
    over_majority: Estimate  # M15
    own: float
    majority: float
    by_persona: tuple[float, ...]  # M15 of personas: 5 %, 50 %, 95 %
    behind: float  # share of personas whom the majority of the others foretells better than their own reading
    sensitivity: Estimate  # M16
    shuffled: int
    retest: Estimate  # share of repeated readings with the same sign
    retest_reliability: float
    repeats: int
    inconsistent: Estimate  # share of labels and templates whose orders disagree
    inconsistent_by_persona: tuple[float, ...]
    differs: Estimate  # share of labels on another side than the reading for nobody
    over_generic: Estimate  # as over_majority, with that reading in place of the majority

    @property
    def kind(self) -> str:
        """personal, generic preference, unclear, or unknown where there is nothing to go by. M16 decides where it was read, else M11.

        Where the interval of M16 reaches from 0 to a sensitivity worth having, and M11 is above 0, too few were read as somebody else.
        """
        known = [found for found in (self.sensitivity, self.reliability) if not np.isnan(found.value)]
        if not known:
            return "unknown"
        if known[0].low > 0:
            return "personal"
        return "unclear" if known[0] is self.sensitivity and known[0].high > WORTH and self.reliability.low > 0 else "generic preference"

    def warnings(self) -> list[str]:
        """What whoever uses the dataset has to know."""
        said = []
        if self.kind == "unclear":
            said.append(f"{self.shuffled:,} readings as somebody else are too few to tell people from noise: raise controls.shuffled")
        if self.kind == "generic preference":
            said.append("what the personas change is not more than noise: this is generic preference")
        if self.reliability.value < DOUBTFUL:
            said.append(
                f"a reading's reliability is {self.reliability.value:.2f}, below {DOUBTFUL}: most of what looks like taste is noise"
            )
        if self.over_majority.high < 0:
            said.append("the majority of the others foretells a reading better than the persona's own second reading")
        return said


def measure(found: Evidence) -> Signal:
    """All figures with their intervals."""
    reads, (own, moved) = found.reads, found.shuffled
    where, first, again = found.repeats
    general, said = found.generic
    beaten, personal = measures.over_majority(found.leanings), measures.by_persona(found.leanings)
    disagree = (found.orders.values.prod(axis=1) <= 0).astype(np.float64)
    sign = np.sign(general.values.mean(axis=1)) * np.sign(said)
    foretold = (1 + np.sign(general.values).mean(axis=1) * np.sign(said)) / 2
    known = len(reads.persona) > 0
    return Signal(
        replicates=found.replicates,
        count=reads.values.shape[1],
        labels=len(reads.persona),
        of=found.of,
        personas=reads.people,
        reliability=measures.reliability(reads) if known else NONE,
        label_reliability=measures.reliability(reads, reads.values.shape[1]) if known else NONE,
        over_majority=measures.advantage(found.leanings) if known else NONE,
        own=beaten.own,
        majority=beaten.majority,
        by_persona=_quantiles(personal),
        behind=float((personal[~np.isnan(personal)] < 0).mean()) if (~np.isnan(personal)).any() else float("nan"),
        sensitivity=measures.estimate(own, measures.sensitivity(own.values, moved)) if len(own.persona) else NONE,
        shuffled=len(own.persona),
        retest=measures.estimate(where, (1 + np.sign(first) * np.sign(again)) / 2),
        retest_reliability=measures.retest(first, again),
        repeats=len(where.persona),
        inconsistent=measures.estimate(found.orders, disagree),
        inconsistent_by_persona=_quantiles(_means(found.orders, disagree)),
        differs=measures.estimate(general, (1 - sign) / 2),
        over_generic=measures.estimate(general, measures.agreement(general.values, general.values) - foretold) if len(said) else NONE,
    )


def _means(reads: Reads, rows: Floats) -> Floats:
    of = np.bincount(reads.persona, minlength=reads.people)
    return np.asarray(np.bincount(reads.persona, weights=rows, minlength=reads.people) / np.maximum(of, 1))


def _quantiles(values: Floats) -> tuple[float, ...]:
    known = values[~np.isnan(values)]
    return tuple(float(value) for value in np.quantile(known, QUANTILES)) if len(known) else (float("nan"),) * len(QUANTILES)


def check(store: Store, limits: SignalLimits) -> None:
    """InputError if a limit of the recipe is not met, or cannot be known to be met. What is on disk stays there either way."""
    wanted = {name: least for name, least in limits.model_dump().items() if least is not None}
    if not wanted:
        return
    found = load(store)
    own, moved = found.shuffled
    figures = {
        "min_reliability": measures.components(found.reads).reliability,
        "min_over_majority": measures.over_majority(found.leanings).advantage,
        "min_sensitivity": float(measures.sensitivity(own.values, moved).mean()) if len(own.persona) else float("nan"),
    }
    for name, least in wanted.items():
        if not figures[name] >= least:
            word = name.removeprefix("min_").replace("_", " ")
            value = "unknown: too little was read" if np.isnan(figures[name]) else f"{figures[name]:.4f}"
            expected = f"at least {least:g}; what was read is kept: change personas, judge or templates, or lower the limit"
            raise InputError("labels", f"limits.signal.{name}", found=f"{word} {value}", expected=expected)


def report(found: Signal) -> dict[str, Any]:
    """The panel as one JSON object; what is not known is null."""
    return {"kind": found.kind, "warnings": found.warnings()} | {field.name: _plain(getattr(found, field.name)) for field in fields(found)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(part) for name, part in asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value


if __name__ == "__main__":
    json.dump(report(measure(load(Store(sys.argv[1])))), sys.stdout, indent=1)
    sys.stdout.write("\n")
