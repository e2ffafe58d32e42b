"""What the errors of a judge are like: order, length, and how much of them is the same however one asks.

    orders(reads, margin, target, …)      ->  accuracy of single readings, of both orders, of all templates
    common(reads, difference, comparison) ->  {"phi": {"value": 0.44, …}, …}    with two templates or more

`reads` has shape (labels, templates, 2): log-odds for a, with a shown first and a shown second; nan where there is none.
"""

from collections.abc import Sequence

import numpy as np

from prefloom.flows.steps.audit_evidence import Bools, Floats, Ints
from prefloom.flows.steps.audit_measures import DIFFERENCE_EDGES, Row, binned, interval, mean, resample, score, shares, sums

HELP = 0.01  # gain in accuracy from which templates help
KEPT = 0.6  # share of labels that are kept
MOST = 0.8  # share of labels that have to be read in full to speak of all
NEARLY = 0.95  # share of labels under which a template counts as read everywhere
CLEAR = 0.5  # from this |du| on one answer is clearly better


def orders(reads: Floats, readers: Sequence[str], margin: Floats, target: Floats, prompt: Ints) -> Row:
    """What averaging is worth: one reading decided alone, both orders of one template averaged, all templates averaged.

    Only templates that were read in both orders are counted, so that all three speak of the same readings.
    """
    whole = np.isfinite(reads).all(axis=2, keepdims=True)
    alone = np.where(whole, score(reads, target[:, None, None]), np.nan)
    both = score(reads.mean(axis=2), target[:, None])
    rows = [
        {
            "template": name,
            "n": int(np.isfinite(both[:, i]).sum()),
            "a_first": mean(alone[:, i, 0][np.isfinite(both[:, i])]),
            "b_first": mean(alone[:, i, 1][np.isfinite(both[:, i])]),
            "both": mean(both[:, i][np.isfinite(both[:, i])]),
        }
        for i, name in enumerate(readers)
    ]
    parts = {"one_reading": _mean_of_known(alone.reshape(len(alone), -1)), "both_orders": _mean_of_known(both)}
    parts |= {"all_templates": score(margin, target)} if len(readers) > 1 else {}
    return {"rows": rows} | shares(parts, prompt)


def templates(reads: Floats, margin: Floats, target: Floats, prompt: Ints) -> Row | None:
    """What reading under several templates is worth over one, on the labels that were read under one in both orders.

    `one` is the mean over the templates that nearly all labels were read under (in adaptive reading the first), `all` the labels as they
    are; both at every coverage, the surest by |margin|. `gain` at 60 % with its interval over prompts: below HELP templates do not help.
    """
    whole: Bools = np.logical_and.reduce(np.isfinite(reads), axis=2)
    everywhere = np.flatnonzero(whole.mean(axis=0) >= NEARLY) if len(reads) else np.zeros(0, dtype=np.int64)
    if reads.shape[1] < 2 or not len(everywhere):
        return None
    mine: Bools = np.logical_and.reduce(whole[:, everywhere], axis=1)
    single, said = reads[mine][:, everywhere].mean(axis=2), margin[mine]
    right, units = score(said, target[mine]), prompt[mine]

    def surest(by: Floats, coverage: float) -> Bools:
        kept = np.zeros(len(by), dtype=bool)
        kept[np.argsort(-np.abs(by), kind="stable")[: max(1, round(coverage * len(by)))]] = True
        return kept

    rows = {}
    for coverage in (KEPT, 1.0):
        columns = []
        for margins, hits in [(said, right), *((one, score(one, target[mine])) for one in single.T)]:
            kept = surest(margins, coverage).astype(np.float64)
            columns += [kept * hits, kept]
        totals = sums(units, *columns)
        drawn, found = resample(totals), totals.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            gains = drawn[:, 0] / drawn[:, 1] - (drawn[:, 2::2] / drawn[:, 3::2]).mean(axis=1)
        one = float((found[2::2] / found[3::2]).mean())
        low, high = interval(gains)
        rows[str(coverage)] = {
            "one": one,
            "all": float(found[0] / found[1]),
            "gain": float(found[0] / found[1]) - one,
            "low": low,
            "high": high,
        }
    per_label = np.where(whole, reads.mean(axis=2), np.nan)[whole.sum(axis=1) > 1]
    spread = float(np.sqrt(np.nanvar(per_label, axis=1, ddof=1).mean())) if len(per_label) else float("nan")
    return {"at": rows, "helps": rows[str(KEPT)]["gain"] >= HELP, "readings": float(2 * whole.sum(axis=1).mean()), "spread": spread}


def _mean_of_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        found: Floats = np.nan_to_num(values).sum(axis=1) / known.sum(axis=1)
    return found


def position(bias: Floats, comparison: Ints, size: Floats | None, prompt: Ints) -> Row:
    """What the judge gives to whichever answer comes first, in log-odds: its mean, its spread over comparisons, and its slope on |du|."""
    totals = sums(comparison, bias, np.ones(len(bias)))
    per_comparison = totals[:, 0] / totals[:, 1]
    found = {"mean": mean(bias), "sd": float(per_comparison.std(ddof=1)) if len(per_comparison) > 1 else float("nan")}
    if size is None:
        return found
    one = np.ones(len(size))
    totals = sums(prompt, one, size, bias, size * size, size * bias)

    def slope(n: Floats, x: Floats, y: Floats, xx: Floats, xy: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((n * xy - x * y) / (n * xx - x * x))

    low, high = interval(slope(*resample(totals).T))
    return found | {"slope": {"value": float(slope(*totals.sum(axis=0))), "low": low, "high": high}}


def length(margin: Floats, difference: Floats, longer: Floats, prompt: Ints) -> Row:
    """Whether the error leans towards the longer answer: slopes per unit of log length, with intervals over prompts.

    `error` is the slope of (margin in its own s.d. - du). A judge that is merely unsure understates every difference, so where people
    truly like length that slope falls below 0 without any bias; `given_truth` is the slope of the margin on length with du held fixed.
    No constant is fitted, because which answer is called a is an accident of its id.
    """
    m = margin / (float(np.sqrt((margin**2).mean())) or 1.0)
    totals = sums(prompt, longer**2, longer * difference, difference**2, longer * m, difference * m)

    def slopes(xx: Floats, xd: Floats, dd: Floats, xm: Floats, dm: Floats) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((xm - xd) / xx), np.asarray((dd * xm - xd * dm) / (xx * dd - xd * xd))

    drawn, whole = slopes(*resample(totals).T), slopes(*totals.sum(axis=0))
    found = {}
    for name, value, values in zip(("error", "given_truth"), whole, drawn, strict=True):
        low, high = interval(values)
        found[name] = {"value": float(value), "low": low, "high": high}
    return found


def common(reads: Floats, difference: Floats, comparison: Ints) -> Row | None:
    """Shares of the variance of one reading's error; None with a single template, or where few labels were read in full.

    What adaptive reading reads in full was chosen by those very readings, so that their errors are no sample of all.

    In each (template, order) the readings for a are regressed on du with a constant, which takes away the position bias, and the
    residuals are its errors. `phi` is their mean covariance over two readings that differ in template and in order, over their mean
    variance: what no averaging over orders and templates takes away. It is measured against the truth and not against the mean of the
    readings, so it holds persistent misreading: a judge that mistakes a person in the same way each time has a high phi, and so has one
    whose sense of distance differs from person to person. `template` and `order` are what two readings of one template, or of one order,
    share beyond that; `rest` belongs to single readings. Two templates whose errors are 1 in common and 1 of their own each: phi = 0.5.
    """
    whole = np.isfinite(reads).all(axis=(1, 2))
    readers = reads.shape[1]
    if readers < 2 or whole.sum() < 3 or whole.mean() < MOST:
        return None
    e, d = reads[whole].reshape(-1, 2 * readers), difference[whole] - difference[whole].mean()
    e = e - e.mean(axis=0)
    e = e - np.outer(d, (d @ e) / max(float(d @ d), 1e-12))
    template, order = np.repeat(np.arange(readers), 2), np.tile([0, 1], readers)
    kinds: dict[str, list[Floats]] = {"other": [], "template": [], "order": []}
    for i in range(2 * readers):
        for j in range(i + 1, 2 * readers):
            kind = "template" if template[i] == template[j] else "order" if order[i] == order[j] else "other"
            kinds[kind].append(e[:, i] * e[:, j])
    products = [np.mean(kinds[kind], axis=0) for kind in ("other", "template", "order")]
    totals = sums(comparison[whole], *products, (e**2).mean(axis=1))

    def parts(other: Floats, template: Floats, order: Floats, variance: Floats) -> dict[str, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            alike = {"phi": other / variance, "template": (template - other) / variance, "order": (order - other) / variance}
        return alike | {"rest": 1 - alike["phi"] - alike["template"] - alike["order"]}

    found, drawn = parts(*totals.sum(axis=0)), parts(*resample(totals).T)
    rows = {}
    for name, value in found.items():
        low, high = interval(drawn[name])
        rows[name] = {"value": float(value), "low": low, "high": high}
    return {"of": int(whole.sum()), "comparisons": len(totals)} | rows


def against_differences(
    margin: Floats, difference: Floats, bias: Floats, longer: Floats, kept: Bools, comparison: Ints, prompt: Ints
) -> Row:
    """What needs to know how much better an answer is, and not only which: `difference` is du in units of its s.d."""
    right, size = score(margin, difference), np.abs(difference)
    lost = size * (1 - right)  # of a tie one half
    clear = size >= CLEAR
    return {
        "by_difference": binned(size, DIFFERENCE_EDGES, right, bias=bias),
        "clearly_better": {"share": mean(clear.astype(np.float64)), "accuracy": mean(right[clear]), "n": int(clear.sum())},
        "regret": {
            "labels": mean(lost),
            "preferences": mean(lost[kept]),
            "random": mean(size / 2),
            "random_preferences": mean(size[kept] / 2),
        },
        "bias": position(bias, comparison, size, prompt),
        "length": length(margin, difference, longer, prompt),
    }
