"""A forecast for a reader at a terminal of 80 columns, or of 100 where some calls are journaled already.

text(report(forecast(run, materials), recipe))  ->  a table of the stages, one of the models, what the figures rest on
"""

from collections.abc import Callable, Iterable
from textwrap import wrap
from typing import Any

WIDTH = 100
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def text(plan: dict[str, Any], width: int = WIDTH) -> str:
    """The report of forecast.py in words and columns; `~` marks rows that are expected and not counted, `–` what is not known."""
    whole = plan["total"]
    head = (
        f"{plan['dataset']} is already built: nothing is left to ask"
        if plan["status"] == "already built"
        else f"plan for {plan['dataset']}"
    )
    # Of calls that are all to be made, three columns say what others say.
    some = bool(whole["journaled"])
    calls = {"calls": "calls"} | ({"journaled": "journaled", "left": "to ask"} if some else {})
    calls |= {"prompt_tokens": "prompt tokens", "completion_tokens": "completion"}
    stages = [
        [name, f"{'' if s['exact'] else '~'}{s['rows']:,}", *_counts(s, calls), size(s["bytes"])] for name, s in plan["stages"].items()
    ]
    stages.append(["all", "", *_counts(whole, calls), size(whole["dataset_bytes"])])
    left = {"left": "calls", "prompt_tokens_left": "prompt tokens", "completion_tokens_left": "completion"}
    worth: dict[str, tuple[str, Callable[[Any], str]]] = {"seconds_left": ("time", duration)}
    worth |= {"gpu_hours_left": ("GPU-hours", hours)} if whole["gpu_hours_left"] is not None else {}
    worth |= {"dollars_left": ("dollars", dollars)} if whole["dollars"] else {}
    worth |= {"dollars": ("dollars in all", dollars)} if whole["dollars"] and some else {}
    models = [
        [name, *(f"{m[key]:,}" for key in left), *(said(m[key]) for key, (_, said) in worth.items())]
        for name, m in (plan["models"] | {"all": whole}).items()
    ]
    if most := plan["at_most"]:  # with a target
        models.append(["at most", *(f"{most[key]:,}" for key in left), *(said(most[key]) for key, (_, said) in worth.items())])
    lines = [head, "", *table(["stage", "rows", *calls.values(), "disk"], stages), ""]
    lines += [*table(["left to ask", *left.values(), *(title for title, _ in worth.values())], models), ""]
    lines.append(f"journal: {size(whole['journal_bytes'])} now, {size(whole['journal_bytes_added'])} more to come")
    for mark, said in (("! ", plan["warnings"]), ("- ", plan["basis"])):
        lines += [line for item in said for line in wrap(item, width, initial_indent=mark, subsequent_indent="  ")]
    return "\n".join(lines)


def _counts(row: dict[str, Any], keys: Iterable[str]) -> list[str]:
    return [f"{row[key]:,}" if row["calls"] else "" for key in keys]


def table(titles: list[str], rows: list[list[str]]) -> list[str]:
    """Columns two apart, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [titles, *rows]
    ]


def size(count: int) -> str:
    """`3.2 MB`: powers of a thousand."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 99.5 else f"{value:.1f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """`4.2 s`, `12 min`, `3.5 h`, or `–` if it is not known."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def hours(count: float | None) -> str:
    """`0.65`, or `–` if it is not known."""
    return "–" if count is None else "<0.01" if 0 < count < 0.01 else f"{count:,.2f}"


def dollars(amount: str | None) -> str:
    """The decimal text to the cent, or in full below a dollar; `–` without a price."""
    if amount is None:
        return "–"
    whole, _, fraction = amount.partition(".")
    return f"{int(whole):,}.{fraction[:2].ljust(2, '0')}" if int(whole) else amount.rstrip("0").rstrip(".") or "0" if fraction else amount
