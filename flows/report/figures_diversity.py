"""The figures about diversity: how alike answers are by strategy, where texts lie, what a pilot chose from.

    alike(rows)                                 ->  a cloud of prompts per strategy, with its mean
    map_of(points, ["young", …], (0.12, 0.08))  ->  dots, one colour and shape per value

Colours and style are those of figures.py.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from prefloom.flows.dataset.similarity import ACROSS, Alike
from prefloom.flows.dataset.statistics import Floats
from prefloom.flows.report import figures
from prefloom.flows.report.figures import MUTED, SERIES

MOST_MARKS = 300  # of a strategy
KINDS = 5  # values with a colour of their own; the rest are grey
_SHAPES = "os^Dv"  # whoever cannot tell the colours apart can tell these


def alike(rows: Sequence[Alike]) -> str:
    """A dot per prompt at the mean cosine of its answers and a line at the mean of all; grey are pairs of answers to different prompts."""

    def paint(axes: Axes) -> None:
        for place, row in enumerate(rows):
            ranked = np.sort(row.means)[:: max(1, -(-len(row.means) // MOST_MARKS))]
            jitter = np.random.default_rng(place).uniform(-0.26, 0.26, len(ranked))
            axes.scatter(ranked, place + jitter, s=7, color=SERIES[0] if row.name != ACROSS else MUTED, alpha=0.45, linewidths=0)
            if row.pairs:
                mean = row.mean.value
                axes.plot([mean, mean], [place - 0.38, place + 0.38], color=SERIES[1], linewidth=2.4, solid_capstyle="round")
            axes.text(1.03, place, f"{row.mean.value:.2f}" if row.pairs else "–", va="center")
        everything = np.concatenate([row.means for row in rows])
        low = min(0.0, float(everything.min())) if len(everything) else 0.0
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set(xlim=(low - 0.02, 1.13), ylim=(len(rows) - 0.5, -0.5), xlabel="mean cosine of a prompt's answers")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.grid(True)
        axes.tick_params(axis="y", length=0)

    return figures.draw(0.7 + 0.4 * len(rows), paint)


def map_of(points: Floats, values: Sequence[str | None], shares: tuple[float, float]) -> str:
    """(n, 2) points, coloured by their values: the commonest get a colour and a shape, the rest are small and grey."""

    def paint(axes: Axes) -> None:
        counts = pl.Series("value", list(values), pl.String).drop_nulls().value_counts().sort("count", "value", descending=[True, False])
        named = counts["value"].head(KINDS).to_list()
        given = np.array([named.index(value) if value in named else -1 for value in values])
        size = float(np.clip(6000 / max(len(points), 1), 7, 26))
        for kind, name in enumerate(named):
            mine = points[given == kind]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=size,
                marker=_SHAPES[kind],
                color=SERIES[kind],
                alpha=0.75,
                linewidths=0,
                label=figures.short(name, 22),
            )
        if (given < 0).any():
            word = "no value" if counts.height <= KINDS else f"{counts.height - KINDS:,} more"
            rest = points[given < 0]
            axes.scatter(rest[:, 0], rest[:, 1], s=size * 0.6, color=MUTED, alpha=0.5, linewidths=0, label=word, zorder=0.5)
        axes.set(xlabel=f"first direction: {shares[0]:.0%} of the spread", ylabel=f"second: {shares[1]:.0%}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.09), ncols=3, handletextpad=0.2, columnspacing=1, markerscale=1.3)

    return figures.draw(4.4, paint)


def chosen(every: Floats, taken: Floats, label: str) -> str:
    """Values of all pairs and of those that were chosen, each as shares of its own number."""

    def paint(axes: Axes) -> None:
        bins = np.linspace(0, max(float(every.max(initial=0)), 1e-9), 31).tolist()
        for values, colour, word in ((every, MUTED, "all pairs"), (taken, SERIES[0], "chosen to be compared")):
            axes.hist(values, bins=bins, weights=np.full(len(values), 1 / max(len(values), 1)), color=colour, alpha=0.6, label=word)
        axes.set(xlabel=label, ylabel="share")
        figures.percent(axes.yaxis)
        axes.yaxis.grid(True)
        axes.legend(handlelength=0.9)

    return figures.draw(2.9, paint)
