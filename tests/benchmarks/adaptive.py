"""What adaptive reading keeps of the gain of all templates over one, and what the same readings bring if spent at random. Prints Markdown.

    PREFLOOM_READINGS=… python -m tests.benchmarks.adaptive [--seeds 1 2 3 4 5 6 7]

Judge `small`, five shipped templates in their order, 28,800 labels a seed that no check has touched (readings.py). The rule has its
defaults, which were chosen on seeds 101 to 105. All ways of reading have the same labels, so differences are paired; an interval is of
200 draws of seeds, within them of people and of prompts, both with replacement.

one       the first template in both orders          all       five templates
adaptive  the rule of schemas/reading.py             shuffled  as many readings as adaptive, its counts dealt out to labels at random
even      as many readings again, spread as evenly as they go
"""

import argparse
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prefloom.flows.steps.forecast_adaptive import asked
from prefloom.schemas.checks import Judgements
from prefloom.schemas.reading import Adaptive
from tests.benchmarks.readings import PHIS, TEMPLATES, Floats, Ints, load

WAYS = ("one", "all", "adaptive", "shuffled", "even")
KEPT = (0.6, 1.0)
RESAMPLES = 200
RULE = Judgements(model="judge", templates=list(TEMPLATES), adaptive=Adaptive())


@dataclass(frozen=True)
class Seed:
    """One society: who and what each label is about, the share of all readings, and by way the margin."""

    persona: Ints
    prompt: Ints
    truth: Floats
    reads: float
    margins: dict[str, Floats]

    @cached_property
    def ranks(self) -> list[tuple[Ints, Floats]]:
        """By way: labels from the surest to the least sure, and whether they are right."""
        orders = [np.argsort(-np.abs(self.margins[way]), kind="stable") for way in WAYS]
        return [(order, ((self.margins[way] > 0) == (self.truth > 0))[order]) for way, order in zip(WAYS, orders, strict=True)]


def seed(phi: float, number: int, rule: Judgements = RULE) -> Seed:
    """Read one society in every way."""
    known = load("fspo-like", phi, number)
    known = known.only(np.isfinite(known.reads).all(axis=(1, 2)))
    margin = known.reads.mean(axis=2)
    first = known.reads * np.array([1.0, -1.0])  # for the answer shown first, as `asked` wants them
    count = asked(np.moveaxis(first, (2, 1), (0, 1)), rule).sum(axis=0)
    dice = np.random.default_rng(number)
    even = np.full(len(count), count.sum() // len(count))
    even[dice.permutation(len(count))[: count.sum() % len(count)]] += 1
    running = np.cumsum(margin, axis=1) / np.arange(1, margin.shape[1] + 1)
    row = np.arange(len(count))
    ways = {
        "one": running[:, 0],
        "all": running[:, -1],
        "adaptive": running[row, count - 1],
        "shuffled": running[row, dice.permutation(count) - 1],
        "even": running[row, even - 1],
    }
    return Seed(known.persona, known.prompt, known.truth, float(count.mean() / margin.shape[1]), ways)


def accuracies(found: Seed, weight: Ints) -> Floats:
    """(ways, KEPT): accuracy of the surest by |margin|, labels counted by a weight."""
    rows = []
    for order, hits in found.ranks:
        w = weight[order]
        running, right = np.cumsum(w), np.cumsum(hits * w)
        places = [min(np.searchsorted(running, share * running[-1]), len(w) - 1) for share in KEPT]
        rows.append([right[place] / running[place] for place in places])
    return np.array(rows)


def resampled(seeds: list[Seed]) -> Floats:
    """(RESAMPLES, ways, KEPT): the same over seeds, people and prompts drawn with replacement."""
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        parts = []
        for i in dice.integers(len(seeds), size=len(seeds)):
            found = seeds[i]
            people, prompts = (
                np.bincount(dice.integers(n, size=n), minlength=n) for n in (found.persona.max() + 1, found.prompt.max() + 1)
            )
            parts.append(accuracies(found, people[found.persona] * prompts[found.prompt]))
        drawn.append(np.mean(parts, axis=0))
    return np.array(drawn)


def main() -> None:
    """Print a table for each kept share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7])
    parser.add_argument("--phis", type=float, nargs="+", default=PHIS)
    options = parser.parse_args()
    found = {phi: [seed(phi, number) for number in options.seeds] for phi in options.phis}
    draws = {phi: resampled(seeds) for phi, seeds in found.items()}
    for place, share in enumerate(KEPT):
        print(f"\nAccuracy of the surest {share:.0%} by |margin|, {len(options.seeds)} seeds; differences in points with 95 % intervals\n")
        print("| φ | readings | one | all | adaptive | shuffled | even | all - one | share kept | adaptive - shuffled | adaptive - even |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for phi, seeds in found.items():
            value = np.mean([accuracies(one, np.ones(len(one.truth), dtype=np.int64)) for one in seeds], axis=0)[:, place]
            drawn = draws[phi][:, :, place]

            def points(a: int, b: int, value: Floats = value, drawn: Floats = drawn) -> str:
                low, high = np.quantile(drawn[:, a] - drawn[:, b], [0.025, 0.975])
                return f"{100 * (value[a] - value[b]):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"

            gain = value[1] - value[0]
            kept = (value[2] - value[0]) / gain
            said = f"{kept:.0%}" if gain >= 0.01 else "templates do not help this judge"
            reads = np.mean([one.reads for one in seeds])
            cells = [f"{phi:g}", f"{reads:.0%}", *(f"{100 * x:.2f}" for x in value), points(1, 0), said, points(2, 3), points(2, 4)]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
