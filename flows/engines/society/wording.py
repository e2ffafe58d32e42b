"""How a person of the society is described: who they are, and some of their tastes in varied words.

    introduce({"work": "nurse", "age": "old", …}, "fspo-like/1/0")  ->  "A midwife aged seventy-one from a village in Ghana, living alone."
    tell([2, 0, -1, …], strengths, 0.5, "fspo-like/1/0")            ->  " As a reader, this person insists on brevity …"
    exact(weights)                                                   ->  [" Weights: +0.1724 -0.0403 …", …]

Each taste has one of five strengths (-2 … 2). Its words are drawn: a verb of that strength with what is liked, or against its opposite.
"""

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society.chance import Floats
from prefloom.flows.engines.society.data import load
from prefloom.schemas.ids import draw_one

_STARTS = ("As a reader, this person", "Besides, this person", "In general, this person", "This person")
_CLAUSES = 3  # in one sentence


def introduce(traits: dict[str, str], name: str) -> str:
    """A sentence that says who somebody is."""
    known = load("people.yaml")
    said = {trait: _pick(known["traits"][trait][value]["words"], f"{name}/{trait}") for trait, value in traits.items()}
    said |= {trait.capitalize(): words[0].upper() + words[1:] for trait, words in said.items()}
    return str(_pick(known["openings"], f"{name}/opening")).format(**said)


def tell(levels: NDArray[np.int64], strengths: Floats, stated: float, name: str) -> str:
    """Sentences on the strongest of the tastes that are not 0: the share `stated` of them, in a drawn order."""
    some = [int(place) for place in np.flatnonzero(levels)]
    some.sort(key=lambda place: -strengths[place])
    told = some[: round(stated * len(some))]
    told.sort(key=lambda place: draw_one(0, f"{name}/order", place))
    clauses = [clause(PROPERTIES[place], int(levels[place]), f"{name}/{place}") for place in told]
    text = ""
    for start in range(0, len(clauses), _CLAUSES):
        part = clauses[start : start + _CLAUSES]
        subject = _STARTS[0] if start == 0 else _pick(list(_STARTS[1:]), f"{name}/start/{start}")
        text += f" {subject} {', '.join(part[:-1])}{' and ' if len(part) > 1 else ''}{part[-1]}."
    return text


def exact(weights: Floats) -> list[str]:
    """Every weight as a number: the words of a control that shows that nothing is lost on the way from a description to a label."""
    return [" Weights: " + " ".join(f"{weight:+.6f}" for weight in row) for row in weights]


def clause(taste: str, level: int, name: str) -> str:
    """What somebody feels about a property, in words drawn by the name: ("length", -2, "…") -> "insists on brevity"."""
    known = load("people.yaml")
    against = draw_one(0, f"{name}/against", 0) % 3 == 0
    verbs = known["verbs"][("strong" if abs(level) == 2 else "mild") + ("_against" if against else "")]
    liked = known["objects"][taste]["more" if (level > 0) != against else "less"]
    return f"{_pick(verbs, f'{name}/verb')} {_pick(liked, f'{name}/object')}"


def _pick(words: list[str], name: str) -> str:
    return words[draw_one(0, f"wording/{name}", 0) % len(words)]
