"""The section of the report that says whether the labels are about their personas at all. It needs no truth.

    section(store, environment)  ->  '<section id="signal">…', or nothing where no judgement can be read

The measures are those of dataset/signal.py; what the recipe's `controls` did not read has no row.
"""

from importlib.resources import files

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes

from prefloom.flows.dataset import signal
from prefloom.flows.dataset.evidence import load
from prefloom.flows.dataset.heterogeneity import Estimate
from prefloom.flows.dataset.store import Store
from prefloom.flows.report import figures
from prefloom.flows.report.figures import INK, SERIES

Row = tuple[str, str, Estimate]


def section(store: Store, environment: jinja2.Environment) -> Markup:
    """The section as HTML."""
    evidence = load(store)
    if not len(evidence.reads.persona):
        return Markup()
    found = signal.measure(evidence)
    rows = [row for row in _rows(found) if row[2].value == row[2].value]
    template = (files("prefloom.flows.report") / "signal.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        found=found,
        kind=found.kind,
        warnings=found.warnings(),
        rows=rows,
        figure=Markup(panel([row for row in rows if row[0] not in _ELSEWHERE])) if rows else "",  # noqa: S704 - drawn by matplotlib
    )
    return Markup(text)  # noqa: S704 - rendered with everything in it escaped


_RETEST, _ORDERS = "re-test", "orders disagree"
_ELSEWHERE = (_RETEST, _ORDERS)  # which say nothing of persons


def _rows(found: signal.Signal) -> list[Row]:
    return [
        ("reliability", "M11: share of what is personal in one reading that another reading finds again", found.reliability),
        ("reliability of a label", "the same of the mean of all readings", found.label_reliability),
        ("over the majority", "M15: another reading of the persona beside what most of the others say", found.over_majority),
        ("over people in general", "the same beside the reading for nobody", found.over_generic),
        ("sensitivity", "M16: changes of side under another's description, less those under other words", found.sensitivity),
        (_RETEST, "share that stays on its side when the very same is asked once more", found.retest),
        (_ORDERS, "share of labels whose two orders name different answers", found.inconsistent),
    ]


def panel(rows: list[Row]) -> str:
    """Each measure with its interval, beside 0."""

    def paint(axes: Axes) -> None:
        low = min([-0.1, *(found.low for _, _, found in rows)])
        for place, (_, _, found) in enumerate(rows):
            axes.plot([found.low, found.high], [place, place], color=SERIES[0], linewidth=3, solid_capstyle="round")
            axes.scatter([found.value], [place], color=SERIES[0], s=46, zorder=3)
            axes.text(1.04, place, f"{found.value:.2f}", va="center")
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set(xlim=(low - 0.02, 1.18), ylim=(len(rows) - 0.5, -0.5))
        axes.set_xticks([tick for tick in (-0.5, 0, 0.25, 0.5, 0.75, 1) if tick >= low])
        axes.xaxis.grid(True)
        axes.tick_params(axis="y", length=0)

    return figures.draw(0.5 + 0.38 * len(rows), paint)
