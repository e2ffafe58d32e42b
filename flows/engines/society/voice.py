r"""How something is said: openings, hedges, warmth, jokes, questions, examples, contractions, and how it is laid out.

    speak(Said(["A walk costs nothing.", …], [example], [joke]), {"warmth": 1.2, "structure": -0.5, …}, "walking", 0.8, "", dice)
    -> "What a lovely thing to ask!\n\nA walk costs nothing. Do what suits your knees …"

Wishes are in standard deviations from the middle, one per style. The sentences are in data/society/voice.yaml.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prefloom.flows.engines.society.content import common_words
from prefloom.flows.engines.society.data import load

_SHORT_FORMS = (
    (r"\b([Dd]o|[Dd]oes|[Ii]s|[Aa]re|[Ww]as|[Ww]ere|[Hh]as|[Hh]ave|[Cc]ould|[Ww]ould|[Ss]hould) not\b", r"\1n't"),
    (r"\b([Cc])annot\b", r"\1an't"),
    (r"\b([Ww])ill not\b", r"\1on't"),
    (r"(?<!about )(?<!with )(?<!of )(?<!for )\b([Ii]t|[Tt]hat|[Tt]here|[Ww]hat|[Hh]ere) is(?= (?!to\b)\w)", r"\1's"),
    (r"\b([Tt]hey|[Ww]e|[Yy]ou) are(?= \w)", r"\1're"),
)
# Only words that can stand in for each other wherever they occur in data/society/.
_LOFTY = {"shows": "demonstrates", "needs": "requires", "many": "numerous", "because": "since", "gets": "obtains"}
_LOFTY |= {"buys": "acquires", "helps": "assists", "starts": "commences"}
_HOMELY = {"requires": "needs", "obtain": "get", "numerous": "many", "approximately": "about", "purchase": "buy"}
_LAYOUTS = {
    "prose": re.compile(r"\b(?:prose|paragraphs?|no (?:lists?|bullets?)|without lists?|letter|story)\b", re.IGNORECASE),
    "numbers": re.compile(r"\b(?:number(?:ed|s)|steps?|step-by-step|ranked)\b", re.IGNORECASE),
    "bullets": re.compile(r"\b(?:bullets?|bulleted|bullet points?|checklist|lists?)\b", re.IGNORECASE),
}

_NAME = re.compile(r"[A-Z]\S* (?:of |the |and |in )?[A-Z]")


class Said(NamedTuple):
    """What is to be said, before it has a voice."""

    lines: list[str]
    examples: list[str]
    humour: list[str]


class _Bank:
    """Sentences of voice.yaml, each used once in an answer."""

    def __init__(self, dice: random.Random, subject: str) -> None:
        self._dice, self._subject = dice, subject
        self._used: set[str] = set()

    def take(self, name: str) -> str:
        left = [line for line in load("voice.yaml")[name] if line not in self._used and (self._subject or "{topic}" not in line)]
        if not left:
            return ""
        line = self._dice.choice(left)
        self._used.add(line)
        filled: str = line.replace("{topic}", self._subject)
        return filled[:1].upper() + filled[1:]


def speak(said: Said, wishes: Mapping[str, float], subject: str, quality: float, view: str, dice: random.Random) -> str:
    """The text of an answer about a `subject`, which may have no name. What a view says of layout is mostly done."""
    bank = _Bank(dice, subject)
    weights = {name: math.exp(1.2 * wishes[style]) for name, style in (("warm", "warmth"), ("formal", "formality"), ("playful", "humour"))}
    weights["plain"] = 1.5
    said = Said(*([line.replace("{topic}", subject) for line in part] for part in said))
    lines = _spoil(said.lines, quality, wishes["diversity"], bank, dice)
    body = _dress(lines, said, wishes, bank, dice)
    opener = bank.take("openers_" + _voice(weights, dice)) if dice.random() < 0.5 + 0.3 * wishes["length"] else ""
    closer = bank.take("closers_" + _voice(weights, dice)) if dice.random() < 0.3 + 0.3 * wishes["length"] else ""
    layout = next((name for name, pattern in _LAYOUTS.items() if pattern.search(view)), "") if dice.random() < 0.5 + quality / 2 else ""
    text = _lay_out(opener, body, closer, wishes, layout, bank, dice)
    return _reword(text, wishes, dice)


def _spoil(lines: Sequence[str], quality: float, diversity: float, bank: _Bank, dice: random.Random) -> list[str]:
    """What a weaker member makes of good sentences: some but the first become filler, some come twice."""
    kept = [bank.take("weak") if place and dice.random() < 0.5 * (1 - quality) else line for place, line in enumerate(lines)]
    if len(kept) > 2 and dice.random() < 0.35 * (1 - quality) + (0.3 if diversity < -0.7 else 0.0):
        kept.append(f"{bank.take('again')} {_lower(kept[dice.randrange(len(kept) - 1)])}")
    return [line for line in kept if line]


def _dress(lines: Sequence[str], said: Said, wishes: Mapping[str, float], bank: _Bank, dice: random.Random) -> list[str]:
    """Each line with what a voice adds to it."""
    manners = {
        "hedges": wishes["hedging"],
        "certain": -wishes["hedging"] - 0.4,
        "asides_warm": wishes["warmth"],
        "playful": wishes["humour"],
        "questions": wishes["questions"],
        "address": wishes["address"],
        "asides_long": wishes["length"] - 0.6,
    }
    chatty = 0.4 if wishes["formality"] > 0.8 else 1.0
    likely = [0.5 * _often(wish) * (chatty if name in ("asides_warm", "playful", "questions") else 1.0) for name, wish in manners.items()]
    examples, jokes = list(said.examples), list(said.humour)
    body = []
    for place, line in enumerate(lines):
        # One manner at most: a line buried in asides reads as if cards had been drawn.
        manner = dice.choices(list(manners), likely)[0] if dice.random() < min(sum(likely), 0.65) else ""
        own = line in said.lines and line != _lower(line)
        led = own and (place or manner != "questions")
        lead = bank.take(f"leads_{manner}") if manner and led and dice.random() < 0.75 else ""
        parts = [
            f"{lead} {line if lead[-1] in '?!' else _lower(line)}" if lead else _join(line, wishes, bank, dice) if place and own else line
        ]
        if examples and dice.random() < _often(wishes["examples"] + 0.3):
            example = examples.pop(0)
            first = len(examples) + 1 == len(said.examples)
            said_so = bank.take("examples" if first else "more_examples") if dice.random() < 0.6 and example != _lower(example) else ""
            parts.append(f"{said_so} {_lower(example)}".strip() if said_so else example)
        if jokes and dice.random() < _often(wishes["humour"]):
            parts.append(jokes.pop(0))
        if manner and not lead and dice.random() < 0.6:
            parts.append(bank.take(manner))
        body.append(" ".join(part[:1].upper() + part[1:] for part in parts if part))
    return body


def _often(wish: float) -> float:
    return 1 / (1 + math.exp(2.2 - 1.7 * wish))


def _join(line: str, wishes: Mapping[str, float], bank: _Bank, dice: random.Random) -> str:
    """A line that may begin with a connective or a word of doubt."""
    chance = dice.random()
    if line == _lower(line):
        return line
    if wishes["hedging"] > 0.3 and chance < 0.15 + 0.1 * wishes["hedging"]:
        return f"{bank.take('hedge_words') or 'Perhaps'}, {_lower(line)}"
    if chance > 0.9:
        word = bank.take("connectives_formal" if wishes["formality"] > 0.4 else "connectives_plain")
        return f"{word}, {_lower(line)}" if word else line
    return line


def _lower(line: str) -> str:
    """Without the capital of its first word, where that is a word that needs none and no name begins there."""
    word = line.split(" ", 1)[0].rstrip(",").lower()
    plain = word in common_words() and not line.startswith(("I ", "I'")) and not _NAME.match(line)
    return line[:1].lower() + line[1:] if plain else line


def _lay_out(opener: str, body: list[str], closer: str, wishes: Mapping[str, float], layout: str, bank: _Bank, dice: random.Random) -> str:
    shape = wishes["structure"] + 0.3 * dice.gauss(0, 1)
    if layout:
        shape = min(shape, 0.0) if layout == "prose" else max(shape, 1.0)
    if shape > 0.55 and len(body) > 1:
        if shape > 1.3 and len(body) > 3:
            half = len(body) // 2
            mark = dice.choice(("## {}", "**{}**"))
            blocks = [mark.format(bank.take("headings")) + "\n\n" + _items(part, layout, dice) for part in (body[:half], body[half:])]
            return "\n\n".join(part for part in [opener, *blocks, closer] if part)
        return "\n\n".join(part for part in [opener, _items(body, layout, dice), closer] if part)
    if wishes["readability"] < -0.5:
        body = _chain(body, dice)
    flow = [part for part in [opener, *body, closer] if part]
    size = len(flow) if shape < -1.2 else dice.choice((2, 3, 3, 4))
    return "\n\n".join(" ".join(flow[start : start + size]) for start in range(0, len(flow), size))


def _items(lines: Sequence[str], layout: str, dice: random.Random) -> str:
    mark = {"numbers": "1", "bullets": "- "}.get(layout) or dice.choice(("- ", "* ", "1"))
    return "\n".join(f"{place}. {line}" if mark == "1" else mark + line for place, line in enumerate(lines, 1))


def _chain(lines: list[str], dice: random.Random) -> list[str]:
    """Pairs of sentences made into one: long sentences are hard to read."""
    chained: list[str] = []
    for line in lines:
        if chained and line != _lower(line) and chained[-1].endswith(".") and chained[-1].count(";") < 2 and dice.random() < 0.5:
            chained[-1] = f"{chained[-1][:-1]}; {_lower(line)}"
        else:
            chained.append(line)
    return chained


def _reword(text: str, wishes: Mapping[str, float], dice: random.Random) -> str:
    """Short forms where the tone is casual, lofty words where it is formal, homely ones where it has to be easy."""
    if wishes["formality"] < 0.1 + 0.4 * dice.random():
        for pattern, short in _SHORT_FORMS:
            text = re.sub(pattern, short, text)
    words = _LOFTY if wishes["formality"] - wishes["readability"] > 1.2 else _HOMELY if wishes["readability"] > 0.5 else {}
    if words:
        text = re.sub(r"\b(?:" + "|".join(words) + r")\b", lambda found: words[found.group()], text)
    return text


def _voice(weights: Mapping[str, float], dice: random.Random) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]
