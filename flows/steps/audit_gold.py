"""Human choices to hold the labels against, from the user's own file.

    comparison_id,choice               or     candidate_a,candidate_b,chosen_id,persona_id
    3f2c…,a                                   41be…,9a0d…,9a0d…,5d1c…

`choice` is `a` or `b` of the comparison, a being the candidate with the smaller id; `chosen_id` names the candidate itself. Without a
`persona_id` a choice holds for every persona that was asked. Several rows about one label are one vote each; other columns are not read.

    read(Path("gold.csv"))         ->  [GoldRow(place="line 2", comparison="3f2c…", pair=None, choice="a", chosen=None, persona=None), …]
    targets(rows, path, evidence)  ->  (array with +1 where people prefer a, -1 where b, 0 where they are torn, nan where unknown, counts)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefloom.flows.dataset.inputs import Row, columns, rows
from prefloom.flows.steps.audit_evidence import Evidence, Floats, Ints
from prefloom.schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class GoldRow:
    """One choice, as the file says it."""

    place: str
    comparison: str | None
    pair: tuple[str, str] | None
    choice: str | None
    chosen: str | None
    persona: str | None


def read(path: Path) -> list[GoldRow]:
    """Every row, checked as far as it can be without the dataset. InputError names the file, the row and the field."""
    names = columns(path)
    what = ["comparison_id"] if "comparison_id" in names or "candidate_a" not in names else ["candidate_a", "candidate_b"]
    how = [name for name in ("chosen_id", "choice") if name in names] or ["choice"]
    whose = ["persona_id"] if "persona_id" in names else []
    return [_row(path, place, row, what) for place, row in rows(path, [*what, *how, *whose])]


def _row(path: Path, place: str, row: Row, what: Sequence[str]) -> GoldRow:
    for name in what:
        if not row[name]:
            raise InputError(str(path), f"{place}, column '{name}'", found="nothing", expected=f"the id of a {name.split('_')[0]}")
    choice, chosen = row.get("choice") or None, row.get("chosen_id") or None
    if choice not in (None, "a", "b"):
        raise InputError(str(path), f"{place}, column 'choice'", found=f"'{choice}'", expected="'a' or 'b'")
    if choice is None and chosen is None:
        column = "chosen_id" if "chosen_id" in row else "choice"
        raise InputError(str(path), f"{place}, column '{column}'", found="nothing", expected="the answer that was chosen")
    comparison, pair = row.get("comparison_id"), None
    if comparison is None:
        a, b = str(row["candidate_a"]), str(row["candidate_b"])
        if a == b:
            raise InputError(str(path), f"{place}, column 'candidate_b'", found="the same id as candidate_a", expected="two candidates")
        # In a file that names its two answers the other way round, `a` may mean its own first column: nobody can say.
        if choice and a > b:
            expected = "the smaller id in candidate_a, or the candidate that was chosen in a column 'chosen_id'"
            raise InputError(str(path), f"{place}, column 'candidate_a'", found="the larger of the two ids", expected=expected)
        pair = (min(a, b), max(a, b))
    return GoldRow(place, comparison, pair, choice, chosen, row.get("persona_id") or None)


def targets(found: Sequence[GoldRow], path: Path, evidence: Evidence) -> tuple[Floats, dict[str, Any], int]:
    """(target of each label, what became of the rows, how many of the asked it speaks of).

    A row about a comparison or a persona that this dataset has not is counted as `elsewhere`. InputError if no row is about a label.
    """
    names = evidence.names
    persona = {name: i for i, name in enumerate(names.personas)}
    comparison = {name: i for i, name in enumerate(names.comparisons)}
    by_pair = {pair: c for c, pair in enumerate(names.pairs)}
    who, which, vote, elsewhere = [], [], [], 0
    for row in found:
        c = by_pair.get(row.pair) if row.pair else comparison.get(row.comparison or "")
        p = persona.get(row.persona) if row.persona else -1
        if c is None or p is None:
            elsewhere += 1
            continue
        who.append(p)
        which.append(c)
        vote.append(_vote(row, names.pairs[c], path))
    people = len(names.personas)
    keys, votes = np.array(which, dtype=np.int64) * (people + 1) + np.array(who, dtype=np.int64) + 1, np.array(vote, dtype=np.float64)
    said, place = np.unique(keys, return_inverse=True)
    sign = np.sign(np.bincount(place, weights=votes, minlength=len(said)))

    def look(c: Ints, p: Ints) -> Floats:
        """The choice of this very person, else the one that holds for everybody, else nan."""
        result = np.full(len(c), np.nan)
        for wanted in (c * (people + 1), c * (people + 1) + p + 1):
            at = np.minimum(np.searchsorted(said, wanted), len(said) - 1)
            hit = said[at] == wanted
            result[hit] = sign[at[hit]]
        return result

    target = look(evidence.comparison, evidence.persona) if len(said) else np.full(len(evidence.margin), np.nan)
    if not np.isfinite(target).any():
        expected = "rows about labels of this dataset: its own comparison_id or candidate ids, and persona_id or none"
        raise InputError(str(path), found=f"{len(found):,} rows, none of them about a label of this dataset", expected=expected)
    everyone = sum(p < 0 for p in who)
    counts = {"rows": len(found), "elsewhere": elsewhere, "for_everyone": everyone, "for_one_person": len(who) - everyone}
    return target, counts, int(np.isfinite(look(evidence.asked[:, 1], evidence.asked[:, 0])).sum())


def _vote(row: GoldRow, pair: tuple[str, str], path: Path) -> float:
    """+1 for a, -1 for b."""
    if row.chosen is None:
        return 1.0 if row.choice == "a" else -1.0
    if row.chosen not in pair:
        expected = f"one of the two that were compared, '{pair[0]}' or '{pair[1]}'"
        raise InputError(str(path), f"{row.place}, column 'chosen_id'", found=f"'{row.chosen}'", expected=expected)
    if row.choice and (row.choice == "a") != (row.chosen == pair[0]):
        raise InputError(str(path), f"{row.place}, column 'choice'", found="another answer than in chosen_id", expected="the same answer")
    return 1.0 if row.chosen == pair[0] else -1.0
