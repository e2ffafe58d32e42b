"""The report's figures: matplotlib draws them, the page's style sheet colours them.

    histogram([0.3, 1.2, …], "|margin|")  ->  '<svg class="figure" viewBox="0 0 374 230" …>…</svg>'

Each colour below is a name in disguise: after drawing it becomes a CSS variable, so that one figure serves light and dark pages. Words
stay text (selectable, in the page's font). Shapes that would be thousands of marks are one small picture. Nothing in a label is markup:
mathematics is not parsed, and names are cut and made visible first.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prefloom.flows.dataset.population import Agreement
from prefloom.flows.dataset.statistics import Floats, Share
from prefloom.schemas.texts import visible

logging.getLogger("matplotlib").setLevel(logging.ERROR)

INK, MUTED, LINE = "#101418", "#6b7281", "#d5d9df"
SERIES = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#cb912f")
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line"} | {colour: f"c{i}" for i, colour in enumerate(SERIES)}
_COLOURS = re.compile("|".join(_VARIABLES))
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
WIDTH = 5.2  # inches of 72 units: one column on a telephone, half the page on a desk


def draw(height: float, paint: Callable[[Axes], None]) -> str:
    """An SVG of one set of axes, without size (the page decides) and with variables for colours."""
    with mpl.rc_context(cast(Any, _STYLE)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a script without glyphs here has them in the reader's browser
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        paint(axes)
        file = io.StringIO()
        mpl.rcParams["svg.hashsalt"] = paint.__qualname__
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-zA-Z.]+_\d+"', "", svg)  # names of groups: nothing refers to them, and two figures would share them
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg class="figure" role="img" \1>', svg)
    # In the attributes alone: a label may be called #101418.
    return re.sub(r'style="[^"]*"', lambda style: _COLOURS.sub(lambda found: f"var(--{_VARIABLES[found[0]]})", style[0]), svg)


def short(name: object, length: int = 30) -> str:
    """A name as it may stand in a figure: visible, on one line, cut."""
    text = visible(str(name)[: 2 * length]).replace("\n", " ")
    return text if len(text) <= length and len(str(name)) <= 2 * length else text[: length - 1] + "…"


def percent(axes: Any) -> None:
    """Let an axis speak in per cent."""
    axes.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u2009%"))


def funnel(rows: Sequence[tuple[str, int, int, int]]) -> str:
    """(stage, kept, rejected by checks, lost to failures) as shares of what the stage considered."""

    def paint(axes: Axes) -> None:
        names = [row[0] for row in rows]
        left = np.zeros(len(rows))
        parts = (("kept", SERIES[0]), ("rejected by a check", SERIES[1]), ("lost to a failure", SERIES[4]))
        for column, (word, colour) in enumerate(parts, 1):
            width = np.array([int(row[column]) / max(sum(row[1:]), 1) for row in rows])
            axes.barh(names, width, left=left, color=colour, height=0.62, label=word)
            left += width
        for place, row in enumerate(rows):
            axes.text(1.02, place, f"{row[1]:,}", va="center", color=INK)
        axes.text(1.02, -0.85, "kept", color=MUTED, va="center")
        axes.set_xlim(0, 1.18)
        percent(axes.xaxis)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.1), ncols=3, handlelength=0.9, columnspacing=1.2)

    return draw(0.5 + 0.3 * len(rows) + 0.3, paint)


def stacked_histogram(parts: Mapping[str, Floats], label: str, mark: float) -> str:
    """Values of several groups over one another, with a dashed line at `mark`; what lies beyond 99.5 % of all is in the last bar."""

    def paint(axes: Axes) -> None:
        everything = np.concatenate(list(parts.values()))
        end = float(np.quantile(everything, 0.995)) if len(everything) else 1.0
        values = [np.clip(part, 0, end) for part in parts.values()]
        axes.hist(values, bins=np.linspace(0, end or 1.0, 41).tolist(), stacked=True, color=SERIES[: len(parts)], label=list(parts))
        axes.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel(label)
        axes.yaxis.grid(True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.legend(handlelength=0.9)

    return draw(2.9, paint)


def orders(x: Floats, y: Floats, bias: float) -> str:
    """Log-odds for a when shown first (x) against when shown second (y), as a picture of counts; the dashed line is pure position bias."""

    def paint(axes: Axes) -> None:
        end = max(1.0, float(np.quantile(np.abs(np.concatenate([x, y])), 0.99))) if len(x) else 1.0
        counts, _, _ = np.histogram2d(np.clip(x, -end, end), np.clip(y, -end, end), bins=64, range=[[-end, end]] * 2)
        strength = np.sqrt(counts.T / max(counts.max(), 1))
        axes.imshow(_tinted(strength, SERIES[0]), extent=(-end, end, -end, end), origin="lower", interpolation="nearest")
        axes.axhline(0, color=LINE, linewidth=0.8)
        axes.axvline(0, color=LINE, linewidth=0.8)
        line = np.array([-end, end])
        axes.plot(line, line - 2 * bias, color=SERIES[1], linewidth=1.2, linestyle=(0, (4, 3)), label=f"same answer, bias {bias:+.2f}")
        axes.plot(line, line, color=INK, linewidth=0.8, label="same answer, no bias")
        axes.set(xlim=(-end, end), ylim=(-end, end), xlabel="log-odds for a, shown first", ylabel="log-odds for a, shown second")
        axes.legend(loc="upper left", handlelength=1.6)

    return draw(3.9, paint)


def agreement(found: Agreement) -> str:
    """The matrix of pairwise agreement as a picture: above one half in one colour, below in the other."""

    def paint(axes: Axes) -> None:
        axes.imshow(_diverging(found.same), interpolation="nearest", aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{len(found.ids)} personas, each next to those it agrees with")
        for spine in axes.spines.values():
            spine.set_visible(False)
        scale = axes.inset_axes((1.04, 0.0, 0.05, 1.0))
        ramp = np.linspace(1, 0, 64)[:, None]
        scale.imshow(_diverging(ramp), aspect="auto", extent=(0, 1, 0, 1))
        scale.set_xticks([])
        scale.yaxis.tick_right()
        scale.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        for spine in scale.spines.values():
            spine.set_visible(False)

    return draw(4.2, paint)


def agreements(pairs: Floats, twins: Floats) -> str:
    """How often two personas agree, over all pairs, and over each persona's nearest twin."""

    def paint(axes: Axes) -> None:
        bins = np.linspace(0, 1, 41).tolist()
        for values, colour, word in ((pairs, SERIES[0], "any two personas"), (twins, SERIES[1], "nearest twin")):
            if len(values):
                axes.hist(values, bins=bins, weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.75, label=word)
        axes.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, 1), xlabel="share of shared comparisons with the same choice", ylabel="share")
        percent(axes.xaxis)
        percent(axes.yaxis)
        axes.yaxis.grid(True)
        axes.legend(handlelength=0.9, loc="upper left")

    return draw(2.9, paint)


def dumbbells(frame: pl.DataFrame) -> str:
    """Columns trait, equals, others: agreement of personas that share the trait's value against those that do not."""

    def paint(axes: Axes) -> None:
        names = [short(name) for name in frame["trait"]]
        places = np.arange(len(names))
        axes.hlines(places, frame["others"], frame["equals"], color=LINE, linewidth=3)
        axes.scatter(frame["others"], places, color=MUTED, s=34, label="different value", zorder=3)
        axes.scatter(frame["equals"], places, color=SERIES[0], s=34, label="same value", zorder=3)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel("agreement of two personas")
        percent(axes.xaxis)
        axes.xaxis.grid(True)
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower right", handlelength=0.9)

    return draw(1.1 + 0.28 * frame.height, paint)


def strips(rates: pl.DataFrame) -> str:
    """Columns kind, rate (one row per persona): each kind of answer as a cloud of personas with its mean."""

    def paint(axes: Axes) -> None:
        means = rates.group_by("kind").agg(pl.col("rate").mean()).sort("rate", descending=True)
        for place, (kind, mean) in enumerate(means.iter_rows()):
            ranked = rates.filter(pl.col("kind") == kind)["rate"].sort()
            values = ranked.gather_every(max(1, len(ranked) // 300)).to_numpy()  # at most about 300 marks to a row
            jitter = np.random.default_rng(place).uniform(-0.28, 0.28, len(values))
            axes.scatter(values, place + jitter, s=7, color=SERIES[0], alpha=0.4, linewidths=0)
            axes.plot([mean, mean], [place - 0.38, place + 0.38], color=SERIES[1], linewidth=2.4, solid_capstyle="round")
            axes.text(1.03, place, f"{mean:.0%}", va="center")
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks(range(means.height), [short(kind, 20) for kind in means["kind"]])
        axes.set(xlim=(0, 1.14), xlabel="share of its comparisons that it wins")
        percent(axes.xaxis)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)

    return draw(0.9 + 0.42 * rates["kind"].n_unique(), paint)


def heat(frame: pl.DataFrame, rows: str, columns: str, value: str) -> str:
    """A small table of shares around one half as coloured cells with their numbers."""

    def paint(axes: Axes) -> None:
        across = frame[columns].unique(maintain_order=True).to_list()
        down = frame[rows].unique(maintain_order=True).to_list()
        cells = np.full((len(down), len(across)), np.nan)
        for r, c, v in frame.select(rows, columns, value).iter_rows():
            cells[down.index(r), across.index(c)] = v
        axes.imshow(_diverging(cells), aspect="auto", interpolation="nearest")
        for (r, c), cell in np.ndenumerate(cells):
            if not np.isnan(cell):
                axes.text(c, r, f"{cell:.0%}", ha="center", va="center", fontsize=8.5)
        axes.set_xticks(range(len(across)), [short(name, 60 // len(across)) for name in across], rotation=0 if len(across) < 5 else 30)
        axes.set_yticks(range(len(down)), [short(name, 24) for name in down])
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return draw(0.6 + 0.25 * frame[rows].n_unique(), paint)


def intervals(rows: Mapping[str, Share]) -> str:
    """Shares with their intervals against one half."""

    def paint(axes: Axes) -> None:
        for place, found in enumerate(rows.values()):
            axes.plot([found.low, found.high], [place, place], color=SERIES[0], linewidth=3, solid_capstyle="round")
            axes.scatter([found.value], [place], color=SERIES[0], s=46, zorder=3)
            axes.text(1.03, place, f"{found.value:.1%}", va="center")
        axes.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(xlim=(0, 1.16), ylim=(len(rows) - 0.5, -0.5))
        percent(axes.xaxis)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.grid(True)
        axes.tick_params(axis="y", length=0)

    return draw(0.5 + 0.38 * len(rows), paint)


def _tinted(strength: Floats, colour: str) -> Floats:
    """(h, w) in 0..1 to (h, w, 4): one colour, as opaque as strong; whatever the page's ground is shines through."""
    picture = np.empty((*strength.shape, 4))
    picture[..., :3] = mpl.colors.to_rgb(colour)
    picture[..., 3] = strength
    return picture


def _diverging(values: Floats) -> Floats:
    """(h, w) of shares to (h, w, 4): clear at one half, SERIES[0] above, SERIES[1] below; nan stays clear."""
    distance = np.nan_to_num(np.clip((values - 0.5) * 2, -1, 1))
    picture = _tinted(np.sqrt(np.abs(distance)) * 0.92, SERIES[0])
    picture[distance < 0, :3] = mpl.colors.to_rgb(SERIES[1])
    return picture
