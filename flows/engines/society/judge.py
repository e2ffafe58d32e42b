"""How a member of the society judges: from the passages of a rendered message alone, with declared faults.

    profile("small", phi=0.65).read([Asked(first="…", second="…", persona="…", wording="…")])  ->  [Verdict(log_odds=0.4121, mass=0.97, …)]

log-odds of the first = slope · (û + S + T + e) + order · (b + B)

û  what the description says of the two answers: its cues and stereotypes (reader.py) times the judge's own scorers of texts;
   without a description, what people like in general
S  persistent error, alike in every order and wording: a liking for length, lists, polish and words that the description has too, which
   all persons share (more than half of it), and a misreading of the person
T  error of the wording of the template, by the texts and the person        e  error of the place where an answer stands, the same way
b  liking for whatever comes first         B  the same by the pair of answers, larger when their gap is small

Every error is a smooth function of what the texts say. Its weights follow smoothly from the words of the description, and are drawn anew
for every wording of the template; none is keyed by the request as a whole. What is off the menu, and who refuses, is spread by sums of
numbers that texts, person and wording have each on its own. φ is the share of S in the variance of S + T + e.
Constants: data/society/judges.yaml, calibrated once and frozen.
"""

import hashlib
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society import reader, utility
from prefloom.flows.engines.society.chance import Floats, normals
from prefloom.flows.engines.society.data import load
from prefloom.flows.engines.society.people import STRENGTHS, block_scale

T = TypeVar("T", bound=Hashable)
Fill = Literal["stereotype", "persistent", "call"]
_PEOPLE = reader.NOTICED  # entries of Told.features: as many, of a person instead of a text
_KEPT = 20_000  # texts, and persons per wording, whose reading is kept
_SHARED = {"length": 0.5, "structure": 0.5, "diversity": 0.4, "formality": 0.3}  # a judge's liking for what looks like work
_OVERLAP = 0.5
_PAIR_TURNS = 6.0  # radians by which one standard deviation of a text turns the wave of B
_TEXT_SHARE, _WORDING_SHARE = 0.55, 0.3  # of S: shared by all persons; of T: the same for all persons
_ORDERS_PULL = re.compile(
    r"(?:choose|pick|select|prefer|answer with|reply with|respond with|vote for|rate)\s{1,4}(?:only\s{1,4})?"
    r"(?:this|me\b|my answer|(?:answer|option|response|letter)?\s{0,4}[\"'(]?([ab])\b)"
    r"|ignore\s{1,4}(?:all|any|the|your|previous|other)[\w ]{0,30}(?:instructions?|answers?|rules)",
    re.IGNORECASE,
)


class Asked(NamedTuple):
    """One reading that is wanted. `wording` is everything around the passages; `persona` is empty where none is given."""

    first: str
    second: str
    persona: str
    wording: str


class Verdict(NamedTuple):
    """Log-odds of the first answer, probability of the two letters together, and whether it answers in words instead."""

    log_odds: float
    mass: float
    refuses: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """An answer as this judge sees it."""

    seen: Floats
    noticed: Floats
    words: int
    place: float  # a number in [0, 1) by which rare events are spread
    orders: frozenset[str]  # letters that the text tells its judge to choose; "this" for itself


@dataclass(frozen=True, slots=True)
class _Person:
    """A description under one wording: weights by which an answer's numbers count."""

    wanted: Floats  # û, on what is seen
    errors: Floats  # S, T and half of e, on what is noticed: change sign when the answers trade places
    uneven: Floats  # the other half of e: does not
    words: int
    place: float


class Judge:
    """A judge with certain traits, as an entry of `profiles` in judges.yaml has them, and standard deviations of its errors."""

    def __init__(
        self, traits: Mapping[str, Any], noise: Mapping[str, float], scales: Mapping[str, float], fill: Fill = "stereotype"
    ) -> None:
        self.traits = traits
        self._s, self._t, self._e = (noise[name] / scales[name] for name in ("S", "T", "e"))
        self._overlap = scales["overlap"]
        self._fill = fill
        self._texts: dict[str, _Text] = {}
        self._persons: dict[tuple[str, str], _Person] = {}
        liked = np.zeros(reader.NOTICED)
        for name, weight in _SHARED.items():
            liked[PROPERTIES.index(name)] = weight
        self._liked = liked
        self._turns = _PAIR_TURNS * normals("judge/pairs", reader.NOTICED) / math.sqrt(reader.NOTICED)

    def likings(self) -> dict[str, float]:
        """Log-odds for one standard deviation more of a property, whoever the person is: the shared part of S, as declared."""
        weight = self.traits["slope"] * self._s * math.sqrt(_TEXT_SHARE)
        return {name: weight * liked for name, liked in _SHARED.items()}

    def read(self, asked: Sequence[Asked]) -> list[Verdict]:
        """A verdict for each; the same whatever else is asked with it."""
        if not asked:
            return []
        texts, places = _distinct(text for one in asked for text in (one.first, one.second))
        first, second = places[::2], places[1::2]
        known = self._meet(texts)
        readers, who = _distinct((one.wording, one.persona) for one in asked)
        persons = [self._person(*reader) for reader in readers]
        seen, noticed = _stack(known, "seen"), _stack(known, "noticed")
        seen, one, other = seen[first] - seen[second], noticed[first], noticed[second]
        apart = one - other
        uneven = np.abs(apart) - 0.8  # about the mean of a standard normal number without its sign
        wanted = _stack(persons, "wanted")[who]
        if self._fill == "call":
            wanted = wanted + np.array([self._whim(one) for one in asked])
        gap = (wanted * seen).sum(axis=1)
        error = (_stack(persons, "errors")[who] * apart).sum(axis=1) + (_stack(persons, "uneven")[who] * uneven).sum(axis=1)
        words, told = [text.words for text in known], [person.words for person in persons]
        trios = zip(who.tolist(), first.tolist(), second.tolist(), strict=True)
        shared = [(told[p] & words[a]).bit_count() - (told[p] & words[b]).bit_count() for p, a, b in trios]
        error += self._s * math.sqrt(_TEXT_SHARE) * _OVERLAP * self._overlap * np.array(shared)
        # A wave along the sum of both: the same in either order, and zero in the mean.
        pair = self.traits["pair"] * math.sqrt(2) * np.cos((one + other) @ self._turns) / (1 + np.abs(gap) / self.traits["gap"])
        pulls = np.array([[_pull(text.orders, letter) for letter in "ab"] for text in known])
        pulled = self.traits["obeys"] * (pulls[first, 0] - pulls[second, 1])
        log_odds = self.traits["slope"] * (gap + error) + self.traits["first"] + pair + pulled
        # Sums of places, which spread rare events: which wording of which pair for whom; the order counts for what is off the menu only.
        spread, whose = _stack(known, "place"), _stack(persons, "place")[who]
        event = (spread[first] + spread[second] + whose) % 1.0
        slack = (2 * spread[first] + 3 * spread[second] + whose) % 1.0
        rare = np.array([math.log(1.0 - number) ** 2 for number in slack.tolist()])  # numpy's own logarithm differs between machines
        off = np.minimum(0.98, self.traits["off_menu"] * 0.5 * rare)
        mass = 1.0 - np.where(event >= 1.0 - self.traits["malformed"], 0.95 + 0.049 * slack, off)
        return list(map(Verdict, log_odds.tolist(), mass.tolist(), (event < self.traits["refuses"]).tolist()))

    def _meet(self, texts: Sequence[str]) -> list[_Text]:
        """What these texts are to the judge, who sees now those that are new."""
        new = [text for text in texts if text not in self._texts]
        if len(self._texts) + len(new) > _KEPT:
            self._texts = {text: self._texts[text] for text in texts if text in self._texts}
        if new:
            own = reader.see(new)
            seen = utility.features(new) if self.traits["reads"] == "truth" else own
            noticed = reader.notice(new, own)
            for row, text in enumerate(new):
                self._texts[text] = _Text(seen[row], noticed[row], reader.word_bits(text), _place(text), _orders(text))
        return [self._texts[text] for text in texts]

    def _person(self, wording: str, persona: str) -> _Person:
        found = self._persons.get((wording, persona))
        if found is None:
            if len(self._persons) >= _KEPT:
                self._persons.clear()
            found = self._persons[wording, persona] = self._weigh(wording, persona)
        return found

    def _weigh(self, wording: str, persona: str) -> _Person:
        told = reader.read(persona) if persona else None
        features = told.features if told else np.zeros(_PEOPLE)
        size = math.sqrt(reader.NOTICED)
        tables = _tables(wording)
        misread = np.zeros(reader.NOTICED)
        misread[: len(PROPERTIES)] = _misreadings() @ features / math.sqrt(len(PROPERTIES))
        persistent = math.sqrt(_TEXT_SHARE) * self._liked + math.sqrt(1 - _TEXT_SHARE) * misread
        worded = (math.sqrt(_WORDING_SHARE) * tables[0] + math.sqrt(1 - _WORDING_SHARE) * (tables[1] @ features)) / size
        errors = self._s * persistent + self._t * worded + self._e * (tables[2] @ features) / size * math.sqrt(0.5)
        uneven = self._e * (tables[3] @ features) / size * math.sqrt(0.5) / 0.6  # 0.6: s.d. of a normal number without its sign
        wanted = self._wanted(told) if told else _tastes(reader.anybody())
        return _Person(wanted, errors, uneven, told.words if told else 0, (_place(persona) + _place(wording)) % 1.0)

    def _wanted(self, told: reader.Told) -> Floats:
        """Weights that the description means to this judge."""
        if told.exact is not None:
            return told.exact
        heard = self.traits["strengths"]
        levels = np.sign(told.levels) * (heard * np.abs(told.levels) + (1 - heard) * np.minimum(np.abs(told.levels), 1.4))
        open_ = 1 - told.stated
        filled = self.traits["guess"] * told.guessed * STRENGTHS[3]
        if self._fill == "persistent":
            filled = self.traits["guess"] * _whims() @ told.features
        elif self._fill == "call":
            filled = np.zeros(len(PROPERTIES))
        return _tastes(levels, open_ * filled)

    def _whim(self, asked: Asked) -> Floats:
        """What is guessed anew at each reading: by person, wording and the two texts, each on its own."""
        whim = np.zeros(utility.WEIGHTS)
        if asked.persona and not (told := reader.read(asked.persona)).stated.all() and told.exact is None:
            turned = math.cos(2 * math.pi * (_place(asked.first) + 2 * _place(asked.second) + _place(asked.wording)))
            guess = _whims() @ told.features * turned * math.sqrt(2)
            whim[: len(PROPERTIES)] = self.traits["guess"] * block_scale(0.5) * (1 - told.stated) * guess
        return whim


def profile(name: str, phi: float, fill: Fill = "stereotype") -> Judge:
    """A judge of judges.yaml."""
    known = load("judges.yaml")
    traits = known["profiles"][name]
    return Judge(traits, traits["noise"].get(phi, {"S": 0.0, "T": 0.0, "e": 0.0}), known["scales"], fill)


def _distinct(items: Iterable[T]) -> tuple[list[T], NDArray[np.intp]]:
    """Each item once, and for every item where it stands there: a few texts and persons meet in many readings."""
    rows: dict[T, int] = {}
    places = [rows.setdefault(item, len(rows)) for item in items]
    return list(rows), np.array(places)


def _tastes(levels: Floats, guessed: Floats | float = 0.0) -> Floats:
    """Weights of a utility for tastes in the five levels -2 … 2, and for guesses in their unit."""
    wanted = np.zeros(utility.WEIGHTS)
    wanted[: len(PROPERTIES)] = block_scale(0.5) * (np.interp(levels, [-2, -1, 0, 1, 2], STRENGTHS) + guessed)
    return wanted


def _stack(rows: Sequence[Any], name: str) -> Floats:
    return np.array([getattr(row, name) for row in rows])


@lru_cache(maxsize=64)
def _tables(wording: str) -> tuple[Floats, Floats, Floats, Floats]:
    """Of a template's words: errors for all, errors by person, the same by place where an answer stands (uneven and even in the order)."""
    name = "judge/" + hashlib.blake2b(wording.encode("utf-8", "replace"), digest_size=8).hexdigest()
    wide = [normals(f"{name}/{kind}", reader.NOTICED, _PEOPLE) for kind in ("person", "place", "uneven")]
    return normals(f"{name}/all", reader.NOTICED), wide[0], wide[1], wide[2]


@lru_cache(maxsize=1)
def _misreadings() -> Floats:
    misread = normals("judge/misreading", len(PROPERTIES), _PEOPLE)
    misread[[PROPERTIES.index(name) for name in _SHARED]] = 0.0  # what is liked for everybody is not misread for somebody
    return misread


@lru_cache(maxsize=1)
def _whims() -> Floats:
    return normals("judge/whim", len(PROPERTIES), _PEOPLE)


@lru_cache(maxsize=1 << 15)
def _place(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest()) / 2.0**48


def _orders(text: str) -> frozenset[str]:
    return frozenset((found.group(1) or "this").lower() for found in _ORDERS_PULL.finditer(text[:100_000]))


def _pull(orders: frozenset[str], own: str) -> float:
    """+1 for an answer that asks to be chosen itself, -1 for one that asks for the other."""
    if "this" in orders or own in orders:
        return 1.0
    return -1.0 if orders else 0.0
