"""Whether a calibration fitted on few gold choices holds for other people, prompts and societies. Prints Markdown.

    PREFLOOM_READINGS=… python -m tests.benchmarks.calibrated [--seeds 1 2 3 4 5 6 7] [--draws 5] [--gold 500]

Fitted on 500 labels of one society seed about even prompts, drawn at random; tested on all labels of the other seeds about odd prompts:
other people, other prompts, other society. Judge `small`, read adaptively with the default rule. Each seed is fitted on in turn,
`draws` times;
`expected error` is that of the audit (ten groups of the probability of the preferred answer), given as mean, as 95 % quantile and as share
of fits that meet the targets (.03 overall, .05 in the worst domain). `pooled` joins the tests of all fits. Skill is over always saying .5.
The form of the map was chosen on seeds 101 to 105.
"""

import argparse

import numpy as np

from prefloom.flows.dataset.calibrations import features
from prefloom.flows.steps.audit_measures import NO_IDEA, calibration
from prefloom.flows.steps.calibrate import fit
from tests.benchmarks.adaptive import seed as read
from tests.benchmarks.readings import PHIS, Floats, Ints, load

Tested = tuple[Floats, Floats, Ints, Ints]  # margin, +1 or -1, domain, prompt


def society(phi: float, number: int) -> Tested:
    """Margins of adaptive reading, and the truth."""
    found = read(phi, number)
    known = load("fspo-like", phi, number)
    whole = np.isfinite(known.reads).all(axis=(1, 2))
    return found.margins["adaptive"], np.sign(found.truth), known.domain[whole], found.prompt


def probability(margin: Floats, weights: tuple[float, float]) -> Floats:
    """P(a) by a map; (1, 0) is what the judge states."""
    p: Floats = np.round(1 / (1 + np.exp(-features(margin) @ np.array(weights))), 4)
    return p


def errors(p: Floats, tested: Tested) -> list[float]:
    """Expected error overall, in the worst domain, Brier skill, number of labels."""
    margin, truth, domain, _ = tested
    whole = calibration(margin, p, truth)
    worst = max(calibration(margin[domain == d], p[domain == d], truth[domain == d])["expected_error"] for d in np.unique(domain))
    return [whole["expected_error"], worst, 1 - whole["brier"] / NO_IDEA, len(margin)]


def joined(parts: list[Tested]) -> Tested:
    """Several societies as one, odd prompts alone."""
    odd = [part[3] % 2 == 1 for part in parts]
    columns = [np.concatenate([part[i][keep] for part, keep in zip(parts, odd, strict=True)]) for i in range(4)]
    return columns[0], columns[1], columns[2], columns[3]


def main() -> None:
    """Print a row for each φ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--gold", type=int, default=500)
    parser.add_argument("--phis", type=float, nargs="+", default=PHIS)
    options = parser.parse_args()
    print("| φ | labels tested | fits | expected error: mean (95 % quantile), share ≤ .03 | worst domain: mean (95 %), share ≤ .05", end="")
    print(" | pooled (domain) | skill | raw: expected error (domain) | raw skill |\n|---|---|---|---|---|---|---|---|---|")
    for phi in options.phis:
        known = {number: society(phi, number) for number in options.seeds}
        found, raw, said, pools = [], [], [], []
        for number, (margin, truth, _, prompt) in known.items():
            tested = joined([part for other, part in known.items() if other != number])
            raw.append(errors(probability(tested[0], (1.0, 0.0)), tested))
            for k in range(options.draws):
                rows = np.random.default_rng([number, k]).choice(np.flatnonzero(prompt % 2 == 0), options.gold, replace=False)
                p = probability(tested[0], fit(margin[rows], (1 + truth[rows]) / 2))
                found.append(errors(p, tested))
                said.append(p)
                pools.append(tested)
        all_, bare = np.array(found), np.mean(raw, axis=0)
        pool = (*(np.concatenate([part[i] for part in pools]) for i in range(4)),)
        whole = errors(np.concatenate(said), (pool[0], pool[1], pool[2], pool[3]))
        high = np.quantile(all_, 0.95, axis=0)
        met = [(all_[:, i] <= target).mean() for i, target in enumerate((0.03, 0.05))]
        cells = [
            f"{phi:g}",
            f"{all_[:, 3].min():,.0f}",
            f"{len(all_)}",
            *(f"{all_[:, i].mean():.4f} ({high[i]:.4f}), {met[i]:.0%}" for i in range(2)),
            f"{whole[0]:.4f} ({whole[1]:.4f})",
            f"{all_[:, 2].mean():.3f}",
            f"{bare[0]:.4f} ({bare[1]:.4f})",
            f"{bare[2]:.3f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
