"""How sure a label's sign is, from the readings alone: what ranks labels best without knowing who is right.

    fitted = fit(traces)                            # Fitted(length=0.9, calm=1.0, signal=11.2, scatter=2.1, …): once for all labels
    confidence(traces, fitted)[7]   ->  1.87        # log-odds the sign stands for; below 0 it would rather turn

Three things beside |margin| are used, each as far as this judge shows it:

tilt     What a label's order weighs, less the template's mean, beside what the order of this comparison weighs for other personas. A judge
         that sees a clear difference is swayed less by the order, so a large tilt speaks of a small difference. Counts by exp(-calm · tilt
         / swing), where `calm` is 0 for a judge without that habit.
length   A part of the margin may go with the length of the answers alone. The habit tells it apart from what the judge reads for the
         person: a true difference calms the order, a liking for length does not. `length`, in log-odds per log length, is what best
         explains the tilts by |margin - length · longer|, in steps of a tenth; 0 where that explains no more than chance would.
scatter  The variance of the margins of templates about their mean, for labels that were read with several: fewer readings, less sure.

Worked: margin 2, its answer longer by 0.5 in log length, length 0.8, tilt 1 where the swing is 2, calm 2, no scatter:
(2 - 0.8 · 0.5) · exp(-2 · 1 / 2) = 0.59. All fitted numbers are rounded, so that no label hangs on the last bit of a sum.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KEYS = ["persona_id", "comparison_id"]
MOST = 20_000  # labels that the two habits are fitted on: every n-th of more
_LENGTHS = np.arange(-15, 16) / 10  # in shares of the margins' size, per standard deviation of log length
_SCALES = (0.2, 0.5, 1.0, 2.0, 3.0)  # of the margin at which the order has half its weight, in the margins' size
_FULL, _CALM = 5.0, 2.0  # calm is the first times the correlation that it shows as, at most the second
_LEAST, _ERRORS = 0.1, 4.0  # a habit is believed from this correlation on, and from so many standard errors
_GAIN = 10.0  # by which a `length` must raise the squared correlation, in units of 1 / labels
_LEAST_SWING = 1e-4
_OTHERS = 2.0  # a comparison's own tilts are mixed with so many of the usual size: few personas tell little of it


@dataclass(frozen=True)
class Traces:
    """What the readings of each label left behind, one row per label in every array."""

    margin: Floats
    tilt: Floats  # bias less the mean bias of its templates
    templates: Ints  # read in both orders
    scatter: Floats  # sum of squares of its templates' margins about their mean
    longer: Floats  # log length of a - log length of b
    comparison: Ints  # a number for each

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Self:
        """From columns of those names."""
        arrays = {name: rows[name].to_numpy().astype(np.float64) for name in ("margin", "tilt", "scatter", "longer")}
        return cls(
            **arrays, templates=rows["templates"].to_numpy().astype(np.int64), comparison=rows["comparison"].to_numpy().astype(np.int64)
        )

    def some(self, step: int) -> "Traces":
        """Every so many labels."""
        return Traces(*(getattr(self, name)[::step] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Fitted:
    """What all labels together say of the judge."""

    length: float  # log-odds per log length that the judge gives to whatever is longer
    calm: float  # how far a clear difference calms the order, from 0 to 2
    signal: float  # variance of what templates have in common; 0 where no label was read with two
    scatter: float  # variance of one template's own
    swing: Floats  # usual size of the tilts of each comparison


@dataclass(frozen=True)
class Sums:
    """What a fit needs of all labels. The sums of two pieces add up to those of both."""

    labels: int
    squares: Floats  # of the tilts, by comparison
    counts: Floats  # labels, by comparison
    spare: float  # templates beyond the first
    scatter: float
    shares: float  # of 1 / templates
    margin: float  # of margin², margin · longer, longer²
    both: float
    longer: float

    @classmethod
    def of(cls, traces: Traces, comparisons: int) -> Self:
        """Of some labels; comparisons are numbered below that."""
        number, margin, longer = traces.comparison, traces.margin, traces.longer
        return cls(
            labels=len(margin),
            squares=np.bincount(number, weights=traces.tilt**2, minlength=comparisons).astype(np.float64),
            counts=np.bincount(number, minlength=comparisons).astype(np.float64),
            spare=float((traces.templates - 1).sum()),
            scatter=float(traces.scatter.sum()),
            shares=float((1 / np.maximum(traces.templates, 1)).sum()),
            margin=float((margin**2).sum()),
            both=float((margin * longer).sum()),
            longer=float((longer**2).sum()),
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def fit(traces: Traces) -> Fitted:
    """Fit on all labels of a dataset, whoever is right."""
    sums = Sums.of(traces, int(traces.comparison.max(initial=-1)) + 1)
    return _fitted(sums, traces.some(_step(sums.labels)))


def fit_pieces(pieces: Callable[[], Iterable[pl.DataFrame]], comparisons: int) -> Fitted:
    """`fit` where labels are too many to hold; they are sorted by persona and comparison, and comparisons numbered below that.

    The pieces come twice, with persona_id, comparison_id and the columns of Traces; all labels of a persona stand in one. How they are cut
    changes nothing: what is summed is rounded, and the habits are fitted on the same labels.
    """
    sums, counts = [], []
    for piece in pieces():
        sums.append(Sums.of(Traces.of(piece), comparisons))
        counts.append(piece.group_by("persona_id").len())
    whole = reduce(Sums.__add__, sums)
    before = pl.concat(counts).sort("persona_id").select("persona_id", (pl.col("len").cum_sum() - pl.col("len")).alias("before"))
    place = (pl.col("before") + pl.int_range(pl.len()).over("persona_id")).alias("place")
    some = [
        piece.sort(KEYS)
        .join(before, on="persona_id", maintain_order="left")
        .with_columns(place)
        .filter(pl.col("place") % _step(whole.labels) == 0)
        for piece in pieces()
    ]
    return _fitted(whole, Traces.of(pl.concat(some).sort("place")))


def _step(labels: int) -> int:
    return max(1, -(-labels // MOST))


def _fitted(sums: Sums, some: Traces) -> Fitted:
    """From the sums of all labels and every n-th of them."""
    if not sums.labels:
        return Fitted(0.0, 0.0, 0.0, 0.0, np.full(len(sums.squares), _LEAST_SWING))
    swing = _swing(sums)
    length, shown = _length(some, swing)
    calm = round(min(_CALM, max(0.0, _FULL * shown)), 2)
    scatter = round(sums.scatter / sums.spare, 3) if sums.spare > 0 else 0.0
    whole = (sums.margin - 2 * length * sums.both + length**2 * sums.longer) / sums.labels
    own = scatter * sums.shares / sums.labels
    signal = round(max(whole - own, 0.1 * whole), 3) if scatter > 0 else 0.0
    return Fitted(length, calm, signal, scatter, swing)


def confidence(traces: Traces, fitted: Fitted) -> Floats:
    """One number per label, on a grid of 1e-4; 0 where the margin is 0."""
    read = np.sign(traces.margin) * (traces.margin - fitted.length * traces.longer)
    quiet = np.exp(-fitted.calm * np.abs(traces.tilt) / fitted.swing[traces.comparison])
    noise = fitted.scatter / np.maximum(traces.templates, 1)
    shrunk = fitted.signal / (fitted.signal + noise) if fitted.signal else 1.0
    found: Floats = (read * quiet * shrunk).round(4) + 0.0  # no -0.0
    return found


def _swing(sums: Sums) -> Floats:
    usual = float(sums.squares.sum()) / sums.labels
    swing: Floats = np.sqrt((sums.squares + _OTHERS * usual) / (sums.counts + _OTHERS)).round(4)
    return np.maximum(swing, _LEAST_SWING)


def _length(traces: Traces, swing: Floats) -> tuple[float, float]:
    """(length, correlation of the tilts with what the rest of the margin lets expect)."""
    ratio = np.abs(traces.tilt) / swing[traces.comparison]
    size, unit = _size(traces.margin), _size(traces.longer)
    if size == 0 or ratio.std() == 0:
        return 0.0, 0.0
    step = size / unit if unit else 0.0
    length, shown, best = 0.0, 0.0, -1.0
    for share in sorted(_LENGTHS if step else [0.0], key=abs):
        rest = np.abs(traces.margin - share * step * traces.longer) / size
        found = max(0.0, *(_correlation(ratio, 1 / (1 + rest / scale)) for scale in _SCALES))
        worth = found**2 - (_GAIN / len(ratio) if share else 0.0)
        if worth > best + 1e-9:
            length, shown, best = round(float(share * step), 3) + 0.0, found, worth
    return (length, shown) if shown > max(_LEAST, _ERRORS / len(ratio) ** 0.5) else (0.0, 0.0)


def _size(values: Floats) -> float:
    return float(f"{np.sqrt((values**2).mean()):.4g}")


def _correlation(one: Floats, other: Floats) -> float:
    one, other = one - one.mean(), other - other.mean()
    both = float((one**2).mean() * (other**2).mean())
    return float((one * other).mean()) / both**0.5 if both > 0 else 0.0


def rank(rows: pl.DataFrame, fitted: Fitted) -> pl.DataFrame:
    """The rows with a column `confidence`. They have the columns of Traces, and `judged`: whether a judge decided.

    People who decide by weights have no judge whose habits could be told: |margin| ranks their labels.
    """
    found = pl.Series("confidence", confidence(Traces.of(rows), fitted), dtype=pl.Float64)
    return rows.with_columns(pl.when("judged").then(found).otherwise(pl.col("margin").abs()).alias("confidence"))
