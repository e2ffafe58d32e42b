"""The section of the report that says how often the labels are right. It stands there once `prefloom audit` has measured.

    section(store, environment)  ->  '<section id="truth">…', or nothing without an audit.json of this very dataset

The figures are those of audit.json; nothing is measured here.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes

from prefloom.flows.dataset import audits
from prefloom.flows.dataset.statistics import Share
from prefloom.flows.dataset.store import Store
from prefloom.flows.report import figures
from prefloom.flows.report.figures import INK, LINE, MUTED, SERIES

Part = dict[str, Any]
_UNUSABLE = (ArithmeticError, KeyError, TypeError, ValueError, AttributeError, IndexError, jinja2.TemplateError)


def section(store: Store, environment: jinja2.Environment) -> Markup:
    """The section as HTML. A file that somebody has changed by hand, and that cannot be shown, is left out: no report fails for it."""
    found = audits.read(store)
    template = (files("prefloom.flows.report") / "audit.html").read_text(encoding="utf-8")
    try:
        parts = [_part(_numbers(found[key]) | {"key": key}) for key in ("truth", "gold") if found.get(key)]
        text = environment.from_string(template).render(parts=parts) if parts else ""
    except _UNUSABLE:
        text = ""
    return Markup(text)  # noqa: S704 - rendered with everything in it escaped


def _numbers(value: Any) -> Any:
    """What was not to be had is null in JSON and nan for the page."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float("nan") if value is None else value


def _part(found: Part) -> Part:
    orders, every = found["orders"], found["checks"]["all"]
    ladder = {
        "one reading, decided alone": orders["one_reading"],
        "both orders of one template": orders["both_orders"],
        "labels": found["accuracy"]["prompts"],
        "preferences": found["preferences"],
        "the longer answer": found["baselines"]["longer_wins"],
        "the majority of the others": found["baselines"]["majority"],
    }
    drawn = [figures.intervals({name: Share(**row) for name, row in ladder.items() if row["of"]})]
    size = found["coverage"]["labels"]
    rules = {row["rule"]: row["curve"] for row in found["selection"]["rows"]}
    drawn.append(curve(rules, found["accuracy"]["prompts"]["value"], every["kept"] / size, found["preferences"]))
    drawn.append(reliability(found["calibration"]["rows"]))
    groups = [("split", found["splits"]), ("cluster", found.get("clusters")), ("domain", found["domains"])]
    return found | {
        "ladder": Markup(drawn[0]),  # noqa: S704 - drawn by matplotlib, which escapes every label
        "curve": Markup(drawn[1]),  # noqa: S704
        "reliability": Markup(drawn[2]),  # noqa: S704
        "differences": Markup(bins(found["by_difference"])) if "by_difference" in found else "",  # noqa: S704
        "groups": [(title, group) for title, group in groups if group],
        "common": found["common"] if isinstance(found.get("common"), dict) else None,
        "generic": found["generic"] if isinstance(found.get("generic"), dict) else None,
    }


def curve(rules: Mapping[str, Sequence[Sequence[float]]], everything: float, kept: float, preferences: Mapping[str, Any]) -> str:
    """Accuracy of the surest labels by the share of labels kept, by each rule, and where the checks end up."""
    named = {"confidence": "by confidence", "margin": "by margin", "reference": "by a rule told the truth"}

    def paint(axes: Axes) -> None:
        for style, (rule, points) in zip(("-", ":", "--"), rules.items(), strict=False):
            color = MUTED if rule == "reference" else SERIES[0]
            axes.plot([x for x, _ in points], [y for _, y in points], style, color=color, linewidth=1.8, label=named[rule])
        axes.axhline(everything, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="all labels")
        if preferences["of"]:
            axes.scatter([kept], [preferences["value"]], color=SERIES[1], s=46, zorder=3, label="the checks: preferences")
        axes.set(xlim=(0, 1.02), xlabel="share of labels kept", ylabel="accuracy")
        figures.percent(axes.xaxis)
        figures.percent(axes.yaxis)
        axes.yaxis.grid(True)
        axes.legend(loc="best", handlelength=1.6)

    return figures.draw(2.9, paint)


def reliability(rows: Sequence[Mapping[str, float]]) -> str:
    """Accuracy by stated probability of the preferred answer, in ten groups of equal size; the diagonal is calibrated."""

    def paint(axes: Axes) -> None:
        axes.plot([0.5, 1], [0.5, 1], color=INK, linewidth=0.8, label="calibrated")
        x, y = [row["probability"] for row in rows], [row["accuracy"] for row in rows]
        axes.plot(x, y, color=SERIES[0], linewidth=1.2, marker="o", markersize=6, label="a tenth of the labels each")
        low = min([0.5, *y]) - 0.02
        axes.set(xlim=(0.49, 1.01), ylim=(low, 1.02), xlabel="stated probability of the preferred answer", ylabel="accuracy")
        figures.percent(axes.xaxis)
        figures.percent(axes.yaxis)
        axes.yaxis.grid(True)
        axes.legend(loc="upper left", handlelength=1.6)

    return figures.draw(2.9, paint)


def bins(rows: Sequence[Mapping[str, float]]) -> str:
    """Accuracy by how much better the better answer is; the bars behind are the shares of the labels."""

    def paint(axes: Axes) -> None:
        places = range(len(rows))
        axes.bar(places, [row["share"] for row in rows], color=LINE, width=0.7, label="share of the labels")
        known = [(place, row["accuracy"]) for place, row in enumerate(rows) if row["n"]]
        axes.plot(*zip(*known, strict=True), color=SERIES[0], linewidth=1.2, marker="o", markersize=6, label="accuracy")
        axes.axhline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        words = [f"{row['low']:g} – {row['high']:g}" if row["high"] == row["high"] else f"from {row['low']:g}" for row in rows]
        axes.set_xticks(list(places), words)
        axes.set(ylim=(0, 1.04), xlabel="difference of the two true utilities, in s.d.")
        figures.percent(axes.yaxis)
        axes.yaxis.grid(True)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.18), ncols=2, handlelength=1.2)

    return figures.draw(2.9, paint)
