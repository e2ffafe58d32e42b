"""An audit for a reader at a terminal of 80 columns.

text(audit(run))   ->  how often the labels are right, what the judge's faults are, and whether each check earns its rows
"""

from textwrap import wrap
from typing import Any

from prefloom.flows.steps.forecast_text import table
from prefloom.schemas.texts import visible

WIDTH = 80
Part = dict[str, Any]


def text(found: dict[str, Any]) -> str:
    """What audit.json holds, in words and columns."""
    lines = [f"audit of {found['dataset']}"]
    if truth := found["truth"]:
        lines += ["", f"AGAINST THE PLANTED TASTES of {_name(truth['society'])}, {truth['coverage']['people']:,} people", *_part(truth)]
    else:
        lines.append("no planted tastes: held against choices of people alone")
    if gold := found["gold"]:
        lines += ["", f"AGAINST CHOICES OF PEOPLE in {_name(gold['file'])}", *_choices(gold["choices"]), *_part(gold)]
    return "\n".join(lines)


def _choices(counts: Part) -> list[str]:
    said = f"{counts['rows']:,} rows: {counts['for_one_person']:,} about one persona, {counts['for_everyone']:,} without a persona_id"
    said += ", each held to be the choice of every persona" if counts["for_everyone"] else ""
    return wrap(said + (f"; {counts['elsewhere']:,} about nothing in this dataset" if counts["elsewhere"] else ""), WIDTH)


def _part(found: Part) -> list[str]:
    coverage, ties = found["coverage"], found["ties"]
    lines = wrap(
        f"{coverage['labels']:,} labels of {coverage['asked']:,} comparisons asked ({_percent(coverage['share'])} could be read); "
        f"{ties['margin']:,} without a margin and {ties['target']:,} without a better answer count half"
        + (f". Of {coverage['every']:,} labels these are all that {coverage['people']:,} personas gave" if "every" in coverage else ""),
        WIDTH,
    )
    return [
        *lines,
        "",
        *_accuracies(found),
        "",
        *_checks(found["checks"]),
        "",
        *_selection(found["selection"], found["raw_orders"]),
        "",
        *_bins("margin", found["by_margin"]),
        *(["", *_bins("du in s.d.", found["by_difference"], bias=True)] if "by_difference" in found else []),
        "",
        *_groups(found),
        "",
        *_words(found),
    ]


def _accuracies(found: Part) -> list[str]:
    orders, accuracy = found["orders"], found["accuracy"]
    named = {
        "one reading, decided alone": orders["one_reading"],
        "both orders of one template": orders["both_orders"],
        "labels": accuracy["prompts"],
        "labels (interval over personas)": accuracy["personas"],
        "preferences, after all checks": found["preferences"],
        "the longer answer": found["baselines"]["longer_wins"],
        "the majority of the others": found["baselines"]["majority"],
    }
    rows = [[name, _percent(s["value"]), f"{_percent(s['low'])} – {_percent(s['high'])}", f"{s['of']:,}"] for name, s in named.items()]
    lines = table(["right", "accuracy", "95 % interval", "of"], rows)
    if len(orders["rows"]) > 1:
        rows = [[_name(row["template"]), *(_percent(row[key]) for key in ("a_first", "b_first", "both"))] for row in orders["rows"]]
        lines += ["", *table(["template", "a first", "b first", "both orders"], rows)]
    return lines


def _checks(found: Part) -> list[str]:
    every = [*found["rows"], found["all"] | {"check": "all checks"}]
    rows = [
        [_name(row["check"].replace("_", " ")), f"{row['n']:,}", *(_percent(row[key]) for key in ("removed", "left", "by_margin"))]
        for row in every
    ]
    return table(["check", "removed", "accuracy of it", "of the rest", "had margin chosen"], rows)


def _selection(found: Part, raw: Part) -> list[str]:
    named = {"confidence": "confidence, our own", "margin": "|margin| alone", "reference": "reference, told the truth"}
    rows = [[named[row["rule"]], *(_percent(value) for value in row["at"].values())] for row in found["rows"]]
    rows.append(["by chance", *[_percent(found["random"]["value"])] * len(found["rows"][0]["at"])])
    at, closed = f"{found['coverage']:.0%}", _percent(found["closed"])
    said = f"Accuracy of what is kept. The reference was told the truth about other personas; at {at} confidence goes {closed} of the way."
    gate = (
        f"The raw gate, one answer in both orders as they stand, keeps {_percent(raw['kept'])}, {_percent(raw['accuracy'])} of them right."
    )
    return [*table(["surest labels kept", *(f"{float(c):.0%}" for c in found["rows"][0]["at"])], rows), *wrap(f"{said} {gate}", WIDTH)]


def _bins(what: str, rows: list[Part], bias: bool = False) -> list[str]:
    cells = [
        [
            f"|{what}| {row['low']:g} – {row['high']:g}" if row["high"] is not None else f"|{what}| from {row['low']:g}",
            f"{row['n']:,}",
            _percent(row["share"]),
            _percent(row["accuracy"]),
            *([_number(row["bias"], "+.2f")] if bias else []),
        ]
        for row in rows
    ]
    return table(["labels with", "labels", "share", "accuracy", *(["bias to first"] if bias else [])], cells)


def _groups(found: Part) -> list[str]:
    rows: list[list[str]] = []
    for title, key in (("split", "splits"), ("cluster", "clusters"), ("domain", "domains")):
        group = found.get(key, {"rows": [], "more": 0})
        rows += [
            [f"{title} {_name(row['name'], 30)}", f"{row['n']:,}", _percent(row["accuracy"]), _percent(row["error"])]
            for row in group["rows"]
        ]
        rows += [[f"and {group['more']:,} more", "", "", ""]] if group["more"] else []
    people = found["personas"]
    lines = table(["by", "labels", "accuracy", "± s.e."], rows)
    marks = {"0": "worst", "0.1": "10 %", "0.25": "25 %", "0.5": "median", "0.75": "75 %", "0.9": "90 %", "1": "best"}
    lines += ["", *table(["personas", *marks.values()], [["accuracy", *(_percent(people["quantiles"][key]) for key in marks)]])]
    lines += wrap(
        f"s.d. over personas {_percent(people['spread'])}, of which chance makes {_percent(people['noise'])}; the least well read:", WIDTH
    )
    for row in people["worst"]:
        lines.append(f"  {_percent(row['accuracy']):>7} of {row['n']:>5,}  {_name(row['description'], 56)}")
    return lines


def _words(found: Part) -> list[str]:
    said = [
        *_believed(found["believed"]),
        *_templates(found["templates"]),
        _calibrated(found["calibration"]),
        f"area of error over coverage: {_number(found['risk_coverage']['area'])}",
    ]
    said.append(_position(found["bias"]))
    if "regret" in found:
        said += [_clear(found["clearly_better"]), _regret(found["regret"]), _length(found["length"])]
    if found.get("common"):
        said.append(_common(found["common"]))
    if found.get("generic"):
        said.append(_generic(found["generic"]))
    return [line for item in said for line in wrap(item, WIDTH, initial_indent="- ", subsequent_indent="  ")]


def _calibrated(found: Part) -> str:
    excess = found["excess"] or 0.0
    lean = f"too {'sure' if excess > 0 else 'unsure'} by {_percent(abs(excess))} on average"
    slope = f"slope {_number(found['slope'], '.2f')} (1 is calibrated, below 1 over-confident)"
    return f"calibration: expected error {_percent(found['expected_error'])}, {lean}, Brier {_number(found['brier'])}, {slope}"


def _believed(found: Part) -> list[str]:
    """The probabilities that a calibration gives, beside the raw ones; nothing without a calibration."""
    if "calibrated" not in found:
        return []
    said = []
    for what, kind in (("as the judge states them", "raw"), ("calibrated", "calibrated")):
        row = found[kind]
        worst = max((part["expected_error"] for part in row["domains"]), default=None)
        at_most = f", in the worst domain {_percent(worst)}" if worst is not None else ""
        skill = f"Brier {_number(row['brier'])}, skill over a tossed coin {_percent(row['skill'])}"
        said.append(f"probabilities {what}: expected error {_percent(row['expected_error'])}{at_most}; {skill}")
    return said


def _templates(found: Part | None) -> list[str]:
    """What several templates are worth over one, and whether that is worth their calls."""
    if not found:
        return []
    kept, every = found["at"]["0.6"], found["at"]["1.0"]
    gain = f"{_points(kept['gain'])} points ({_points(kept['low'])} to {_points(kept['high'])}) of accuracy in the surest 60 %"
    verdict = "" if found["helps"] else ": templates do not help this judge"
    spread = f"margins differ between templates by s.d. {_number(found['spread'], '.2f')} (judgements.adaptive.spread)"
    readings = f"{_number(found['readings'], '.1f')} readings a label"
    return [f"all templates over one: {gain}, {_points(every['gain'])} in all labels{verdict}; {readings}; {spread}"]


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _position(bias: Part) -> str:
    slope = f", slope on |du| {_between(bias['slope'])}" if "slope" in bias else ""
    return (
        f"position bias: {_number(bias['mean'], '+.2f')} log-odds for the first, s.d. over comparisons {_number(bias['sd'], '.2f')}{slope}"
    )


def _clear(clear: Part) -> str:
    share, accuracy = _percent(clear["share"]), _percent(clear["accuracy"])
    return f"one answer is clearly better (|du| of 0.5 or more) in {share} of the labels; accuracy there {accuracy}"


def _regret(found: Part) -> str:
    labels, preferences = _number(found["labels"]), _number(found["preferences"])
    coin, another = _number(found["random"]), _number(found["random_preferences"])
    return f"regret in s.d. of du: {labels} a label (a tossed coin {coin}), {preferences} a preference (a tossed coin {another})"


def _length(found: Part) -> str:
    error, given = _between(found["error"]), _between(found["given_truth"])
    return f"length: slope of the error on log length {error}; of the margin, du held fixed, {given}"


def _common(found: Part) -> str:
    template, order, rest = (_percent(found[name]["value"]) for name in ("template", "order", "rest"))
    said = f"phi {_between(found['phi'])} of a reading's error variance is common to all orders and templates: no averaging takes it away"
    return f"{said}; one template's own {template}, one order's own {order}, one reading's own {rest}"


def _generic(found: Part) -> str:
    general, gain = _percent(found["generic"]["value"]), found["gain"]
    there = f"{_percent(found['label_where_they_differ']['value'])} of the {_percent(found['differs']['value'])} where the two differ"
    average = "" if gain["low"] is None or gain["low"] > 0 else "; not above 0: the labels teach the average"
    low, high = _percent(gain["low"]), _percent(gain["high"])
    gained = f"labels gain {_percent(gain['value'])} ({low} to {high})"
    return f"read for nobody in particular {general} are right: {gained}, and are right in {there}{average}"


def _name(value: object, longest: int = 40) -> str:
    """A name from anybody's file, on one line that stays within its columns."""
    shown = visible(" ".join(str(value)[: 4 * longest].split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _between(row: Part) -> str:
    return f"{_number(row['value'])} ({_number(row['low'])} to {_number(row['high'])})"
