"""A forecast for a reader at a terminal of 100 columns.

text(report(forecast(run, materials), recipe))  ->  a table of the stages, one of the models, what the figures rest on
"""

from textwrap import wrap
from typing import Any

WIDTH = 100
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def text(plan: dict[str, Any]) -> str:
    """The report of forecast.py in words and columns; `~` marks rows that are expected and not counted, `–` what is not known."""
    whole = plan["total"]
    head = (
        f"{plan['dataset']} is already built: nothing is left to ask"
        if plan["status"] == "already built"
        else f"plan for {plan['dataset']}"
    )
    titles = ["stage", "rows", "calls", "journaled", "to ask", "prompt tokens", "completion", "disk"]
    stages = [
        [name, f"{'' if s['exact'] else '~'}{s['rows']:,}", *_calls(s, "prompt_tokens", "completion_tokens"), size(s["bytes"])]
        for name, s in plan["stages"].items()
    ]
    stages.append(["all", "", *_calls(whole, "prompt_tokens", "completion_tokens"), size(whole["dataset_bytes"])])
    models = [
        [name, f"{m['left']:,}", f"{m['prompt_tokens_left']:,}", f"{m['completion_tokens_left']:,}", *_worth(m)]
        for name, m in (plan["models"] | {"all": whole}).items()
    ]
    lines = [head, "", *_table(titles, stages), ""]
    lines += [*_table(["left to ask", "calls", "prompt tokens", "completion", "time", "dollars", "dollars in all"], models), ""]
    lines.append(f"journal: {size(whole['journal_bytes'])} now, {size(whole['journal_bytes_added'])} more to come")
    for mark, said in (("! ", plan["warnings"]), ("- ", plan["basis"])):
        lines += [line for item in said for line in wrap(item, WIDTH, initial_indent=mark, subsequent_indent="  ")]
    return "\n".join(lines)


def _calls(row: dict[str, Any], *tokens: str) -> list[str]:
    return [f"{row[key]:,}" if row["calls"] else "" for key in ("calls", "journaled", "left", *tokens)]


def _worth(row: dict[str, Any]) -> list[str]:
    return [duration(row["seconds_left"]), dollars(row["dollars_left"]), dollars(row["dollars"])]


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
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


def dollars(amount: str | None) -> str:
    """The decimal text to the cent, or in full below a dollar; `–` without a price."""
    if amount is None:
        return "–"
    whole, _, fraction = amount.partition(".")
    return f"{int(whole):,}.{fraction[:2].ljust(2, '0')}" if int(whole) else amount.rstrip("0").rstrip(".") or "0" if fraction else amount
