"""What a member of the society answers: which of the things it knows, in which order, and how much of them.

    respond("How should I spend a free weekend?", "a long walk, warm and brief", request, "friendly")
    -> "What a good thing to wonder about. A walk costs nothing but shoe leather …"

A member has habits, an own quality and its own favourites; a view bends all of them. The seed moves the choice as far as the temperature
lets it: at 0 a member always says the same. Voice (contractions, hedges, lists …) is added by voice.py.
"""

import hashlib
import math
import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.scorers import PROPERTIES, STYLE, VALUES
from prefloom.flows.engines.society import reader, voice
from prefloom.flows.engines.society.chance import Dice, Floats
from prefloom.flows.engines.society.content import LEVELS, Subject, about, level_of
from prefloom.flows.engines.society.data import load

_GOOD = re.compile(r"\b(?:positive|favourable|favorable|enthusiastic|praise|praising|fan|loves?|recommend)\b")
_BAD = re.compile(r"\b(?:negative|critical|harsh|unfavourable|scathing|dislikes?|hates?|disappointed)\b")
_FORMALITY, _HUMOUR = STYLE.index("formality"), STYLE.index("humour")
_VIEW_PULL = 1.3  # how far a view of strength 1 moves a habit


def respond(task: str, view: str | None, request: Request, character: str) -> str:
    """The answer, in full. The same request gets the same answer."""
    member = load("characters.yaml")[character]
    dice = Dice(character, request)
    warm = min(request.temperature, 2.0)
    style = np.array([member["writes"].get(name, 0.0) for name in PROPERTIES])
    if view:
        asked = reader.lean(view)
        style = style + _VIEW_PULL * asked
        if asked[_FORMALITY] > 0 and asked[_HUMOUR] <= 0:
            style[_HUMOUR] -= _VIEW_PULL  # who is asked to be formal does not joke
    style = style + 0.3 * warm * np.array([dice.gauss(0, 1) for _ in PROPERTIES])
    subject = about(task)
    choose = _Chooser(f"{character}/{(view or '')[:500]}/{task[:500]}", dice, warm)
    said = voice.Said(*_content(subject, style, view or "", task, member, choose))
    wishes = {name: float(style[place]) for place, name in enumerate(STYLE)}
    name = subject.name if subject.kind in ("concept", "work") else ""
    return voice.speak(said, wishes, name, float(member["quality"]), (view or "")[:2000], dice)


class _Chooser:
    """Picks with favourites: a member's liking for a sentence is fixed, and chance is added by temperature."""

    def __init__(self, name: str, dice: random.Random, warm: float) -> None:
        self._name, self._dice, self._warm = name, dice, warm

    def rank(self, options: Sequence[Any], liking: Sequence[float] | None = None) -> list[Any]:
        """The options, best liked first."""
        scores = []
        for place, option in enumerate(options):
            own = hashlib.blake2b(f"{self._name}\0{option}".encode("utf-8", "replace"), digest_size=4).digest()
            favourite = int.from_bytes(own) / 2.0**32
            chance = -math.log(-math.log(self._dice.random() or 0.5))  # Gumbel: at temperature t a choice follows exp(liking / t)
            scores.append((favourite + (liking[place] if liking else 0.0)) + 0.25 * self._warm * chance)
        return [options[place] for place in sorted(range(len(options)), key=lambda place: -scores[place])]


def _content(
    subject: Subject, style: Floats, view: str, task: str, member: dict[str, Any], choose: _Chooser
) -> tuple[list[str], list[str], list[str]]:
    """(sentences in order, examples, light-hearted lines) about a subject."""
    wanted = max(1, min(14, round(4.5 + 2.6 * style[STYLE.index("length")])))
    entry = subject.entry
    if subject.kind == "concept":
        level = level_of(view) if view else None
        return _explain(entry, style, level if level is not None else level_of(task), member, choose, wanted)
    if subject.kind == "work":
        return _review(entry, style, view.lower() + " " + task[:400].lower(), member, choose, wanted)
    if subject.kind == "question":
        liking = [_agrees(one, style, view) for one in entry["views"]]
        ranked = choose.rank(entry["views"], liking)
        balanced = style[STYLE.index("hedging")] > 0.9 or wanted > 5
        taken = ranked[: 1 if not balanced else 2 if wanted <= 8 else 3]
        said = [list(one["says"]) for one in taken]
        share = [max(1, round(wanted / len(taken)))] * len(taken)
        lines = [line for one, count in zip(said, share, strict=True) for line in one[:count]]
        return lines, [one["example"] for one in taken], [one["humour"] for one in taken]
    values = [float(style[PROPERTIES.index(value)]) for value in VALUES]
    ranked = choose.rank(VALUES, [0.8 * value for value in values])
    asked = set(re.findall(r"[a-z]{4,}", task.lower()))
    own = choose.rank(entry["says"], [1.5 * len(asked.intersection(re.findall(r"[a-z]{4,}", line.lower()))) for line in entry["says"]])
    side = choose.rank(entry["values"][ranked[0]]) + choose.rank(entry["values"][ranked[1]])[:3]
    if not own:
        own = choose.rank(entry["values"][ranked[2]])
    strong = max(values) > 0.5
    count = min(len(own), max(1, round(wanted * (0.5 if strong else 0.8))))
    lines = own[:count] + side[: wanted - count if strong or not own else 1]
    return lines, own[count : count + 2], []


def _explain(
    entry: dict[str, Any], style: Floats, level: int | None, member: dict[str, Any], choose: _Chooser, wanted: int
) -> tuple[list[str], list[str], list[str]]:
    if level is None:
        harder = 0.6 * (style[_FORMALITY] - style[_HUMOUR]) - 0.8 * style[STYLE.index("readability")]
        level = max(0, min(4, round(member["level"] + float(harder))))
    lines = choose.rank(entry[LEVELS[level]])
    if wanted > 4:  # a little of what is left to say is said one level up or down
        lines += choose.rank([line for near in (level + 1, level - 1) if 0 <= near < 5 for line in entry[LEVELS[near]]])[:2]
    return lines[:wanted], choose.rank(entry["examples"]), choose.rank(entry["humour"])


def _review(
    entry: dict[str, Any], style: Floats, asked: str, member: dict[str, Any], choose: _Chooser, wanted: int
) -> tuple[list[str], list[str], list[str]]:
    good, bad = bool(_GOOD.search(asked)), bool(_BAD.search(asked))
    mood = 0.5 + 0.2 * float(style[STYLE.index("warmth")]) + member["kind"] + choose.rank([-0.3, 0.0, 0.3])[0]
    liking = mood if good == bad else float(good)
    order = choose.rank(range(len(entry["praise"])))
    kept = max(1, min(7, wanted - 1))
    if 0.25 < liking < 0.75:
        # Praise of one aspect, blame of another, in turn.
        sides = [side for place, other in zip(order, order[1:] + order[:1], strict=True) for side in (("praise", place), ("blame", other))]
    else:
        sides = [("praise" if liking >= 0.75 else "blame", place) for place in order]
    about = choose.rank(entry["about"])[: 2 if wanted > 5 else 1]
    kind = "good" if liking >= 0.75 else "bad" if liking <= 0.25 else "mixed"
    lines = [*about, *(entry[side][place] for side, place in sides[:kept])]
    lines[-1] += " " + choose.rank(load("advice.yaml")["verdicts"][kind])[0]
    return lines, [], [entry["humour"]]


def _agrees(one: dict[str, Any], style: Floats, view: str) -> float:
    """How much a viewpoint suits: by what it serves and by the words it shares with the view that was asked for."""
    serves: float = sum(weight * float(style[PROPERTIES.index(value)]) for value, weight in one["values"].items())
    words = set(re.findall(r"[a-z]{4,}", view.lower()))
    named = len(words.intersection(re.findall(r"[a-z]{4,}", one["name"].lower())))
    return 0.5 * serves + 2.0 * named
