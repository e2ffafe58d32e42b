"""What the society knows: concepts at five levels, open questions with viewpoints, works, and advice for anything else.

    about("Explain photosynthesis to a child.")        ->  Subject(kind="concept", name="photosynthesis", entry={"child": […], …})
    about("Write a review for the book, Dracula.")     ->  Subject(kind="work", name="Dracula", entry={"praise": […], …})
    about("How do I cook rice?")                       ->  Subject(kind="advice", name="cooking", entry={…})

The texts are in data/society/: concepts_*.yaml, questions.yaml, works.yaml, advice.yaml.
"""

import re
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from prefloom.flows.engines.society.data import load, names

Kind = Literal["concept", "question", "work", "advice"]
LEVELS = ("child", "teenager", "student", "graduate", "expert")
_READ = 4000  # characters of a task that are looked at
_REVIEW = re.compile(r"\b(?:review|opinion of|verdict on|worth (?:reading|watching))\b")
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d\n]{1,80})[\"\u201d]")
_NAMED = re.compile(r"(?:.*,|.*\b(?:of|for)(?: the \w+)?) +([^.?!\n]{1,80})", re.IGNORECASE)
_LEVEL_WORDS = {
    "child": r"child|children|kid|kids|five|six|seven|eight|primary|elementary|pupil|toddler|preteen|little",
    "teenager": r"teen|teens|teenager|teenagers|teenage|middle school|young|adolescent|thirteen|fifteen|sixteen",
    "student": r"high school|secondary|school leaver|layman|lay|general|beginner|adult|adults|newcomer|everyday words|simple",
    "graduate": r"college|university|undergraduate|graduate|degree|bachelor|student",
    "expert": r"expert|experts|specialist|professor|phd|doctorate|researcher|technical|colleague|professional",
}


class Subject(NamedTuple):
    """What a task is about, as far as the society knows it."""

    kind: Kind
    name: str
    entry: dict[str, Any]


def about(task: str) -> Subject:
    """The subject of a task; anything unknown is a matter for advice."""
    text = task[:_READ].lower()
    if _REVIEW.search(text):
        return _find("work", text) or Subject("work", _title(task[:_READ]), load("advice.yaml")["unknown_work"])
    return _find("question", text) or _find("concept", text) or _find("work", text) or _advice(text)


def _title(task: str) -> str:
    """What a review is about: what stands in quotation marks, or after the last comma, `of` or `for`."""
    found = _QUOTED.search(task) or _NAMED.search(task)
    return " ".join(re.findall(r"[\w'&:-]+", found.group(1)))[:60].strip() if found else "The work"


@lru_cache(maxsize=4096)
def level_of(words: str) -> int | None:
    """The level (0 child … 4 expert) that words ask for, or None."""
    found = [(match.start(), place) for place, pattern in enumerate(_levels()) if (match := pattern.search(words[:_READ].lower()))]
    return min(found)[1] if found else None


def subjects(kind: Kind) -> dict[str, dict[str, Any]]:
    """All entries of a kind by name."""
    if kind == "concept":
        return {name: entry for file in names("concepts_") for name, entry in load(file).items()}
    return dict(load({"question": "questions.yaml", "work": "works.yaml"}[kind]))


@cache
def common_words() -> frozenset[str]:
    """Words that stand without a capital somewhere inside a sentence of the society: not names."""
    inside: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, str):
            inside.update(re.findall(r"(?<= )[a-z][a-z'-]*", node))
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(part)

    for entries in (subjects("concept"), subjects("question"), subjects("work"), load("advice.yaml"), load("voice.yaml")):
        walk(entries)
    return frozenset(inside)


@cache
def _levels() -> list[re.Pattern[str]]:
    return [re.compile(rf"\b(?:{_LEVEL_WORDS[level]})\b") for level in LEVELS]


@cache
def _phrases(kind: Kind) -> tuple[re.Pattern[str], dict[str, str]]:
    names = {phrase: name for name, entry in subjects(kind).items() for phrase in entry["match"]}
    longest = sorted(names, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)"), names


def _find(kind: Kind, text: str) -> Subject | None:
    pattern, names = _phrases(kind)
    match = pattern.search(text)
    return Subject(kind, names[match.group()], subjects(kind)[names[match.group()]]) if match else None


def _advice(text: str) -> Subject:
    known = load("advice.yaml")
    words = re.findall(r"[a-z][a-z'-]*", text)
    counts = {domain: sum(word in own for word in words) for domain, own in _domain_words().items()}
    best = max(counts, key=lambda domain: counts[domain])
    domain = best if counts[best] else ""
    return Subject("advice", domain, {"values": known["values"], "says": known["domains"].get(domain, [])})


@cache
def _domain_words() -> dict[str, frozenset[str]]:
    words: dict[str, list[str]] = load("advice.yaml")["domain_words"]
    return {domain: frozenset(own) for domain, own in words.items()}
