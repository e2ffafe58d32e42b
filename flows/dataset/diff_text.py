"""A difference of two datasets as lines for a terminal.

text(diff(old, new))               ->  the lines
summary(diff(old, new)["labels"])  ->  "38,863 labels in both: 0 turned (0.0%), margins moved in 0.0% of them, …"
"""

from typing import Any

from prefloom.schemas.texts import short

_SHOWN = 8  # of a list
LONGEST = 60  # characters of a value


def text(found: dict[str, Any]) -> str:
    """All of it, the long lists cut."""
    lines = [f"{found['old']} -> {found['new']}", ""]
    lines += [f"  {row['table']:<12} {_number(row['old']):>11} -> {_number(row['new']):>11} {row['unit']}s" for row in found["rows"]]
    lines += ["", summary(found["labels"])]
    lines += _listed("recipe", [f"{row['key']}: {_value(row['old'])} -> {_value(row['new'])}" for row in found["recipe"]])
    lines += _listed(
        "groups whose labels turned most",
        [f"{_value(row['trait'])} {_value(row['value'])}: {row['share']:.1%} of {row['shared']:,}" for row in found["groups"]],
    )
    lines += _listed(
        "population",
        [f"{_value(row['trait'])} {_value(row['value'])}: {row['old']:.1%} -> {row['new']:.1%}" for row in found["population"]],
    )
    lines += _listed("diversity", [f"{row['what']}: {_float(row['old'])} -> {_float(row['new'])}" for row in found["diversity"]])
    return "\n".join(lines)


def summary(labels: dict[str, Any]) -> str:
    """What became of the labels, in one sentence."""
    if not labels["shared"]:
        return f"no label in both; {labels['old']:,} before, {labels['new']:,} now"
    share, moved = labels["turned"] / labels["shared"], labels["moved"] / labels["shared"]
    before, after = labels["consistency"]
    return (
        f"{labels['shared']:,} labels in both: {labels['turned']:,} turned ({share:.1%}), margins moved in {moved:.1%} of them, "
        f"by {labels['distance']:.3f} on average; {labels['old'] - labels['shared']:,} gone, {labels['new'] - labels['shared']:,} new; "
        f"consistency {before:.3f} -> {after:.3f}"
    )


def _listed(title: str, rows: list[str]) -> list[str]:
    more = [f"  … and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return ["", title, *(f"  {row}" for row in rows[:_SHOWN]), *more] if rows else []


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _float(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _value(value: object) -> str:
    return "-" if value is None else short(" ".join(str(value).split()), LONGEST)
