r"""What simulated judges read with: the same twenty properties sentence by sentence, and from the letters of words.

    measure("- Boil the water.\n- Add salt.")   ->  {"length": 1.9, "readability": -33.8, "structure": 1.6, …}      not standardised

Where truth.py counts words and held_out.py looks for their neighbours, this one asks of each sentence whether it bears on a property (by
stems, the first letters of words) and reports the share of sentences that do. This module shares no code and no list with the other two.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

_TERM = re.compile(r"e\.g\.|[a-z]+(?:[-'’][a-z]+)*")
_CUT = re.compile(r"(?<=[.!?;:])[\"”')*]*\s+|\n+")
_VOWELS = re.compile(r"[aeiouy]+")
_GRAVE = re.compile(r"(?:tion|sion|ment|ance|ence|ency|ity|ism|ology|tive|ous|ical|ible|able|ize|ise|ify)(?:s|d|ly)?$")
_IDEA = re.compile(r"(?:tion|sion|ment|ness|ity|ance|ence|ency|ism|ology|ship|hood|acy|dom)s?$|(?:ical|ive|ual|ial)(?:ly)?$")
_NUMBER = re.compile(r"\b\d+(?:[.,/]\d+)*")
_STRETCHED = re.compile(r"([a-z])\1{2,6}|!\?|\?!|!{2,9}|\.{3}|…")
_SMILE = re.compile("[\U0001f300-\U0001faff☀-➿]|[:;]-?[)DP](?!\\w)")
_ENDS_ASKING = re.compile(r"\?[\"”')*_]*\s*$")
_ASKS = re.compile(r"(?:wh(?:o|om|ose|at|ich|en|ere|y)|how|is|are|do|does|did|can|could|would|will|should|have|has)$")
_LONGEST = 40  # letters of a word
_ORDINARY = -3.2  # diversity that a text has before anything is known of it
_MORE = 3  # sentences that every text has more, for shares
_FIRM, _LOOSE = 0.85, 0.3  # how sure one word makes a reader that the sentence bears on a value


class _Sentence(NamedTuple):
    text: str
    terms: list[str]
    topics: frozenset[str]
    leaning: dict[str, float]


def measure(text: str) -> dict[str, float]:
    """All properties by name."""
    parts = [_sentence(part) for part in _CUT.split(text) if part]
    sentences = [part for part in parts if part.terms]
    terms = [term for part in sentences for term in part.terms]
    found = {
        # Groups of vowels: how long it takes to say.
        "length": math.log1p(sum(map(_spoken, terms))),
        "readability": _readability(terms, len(sentences)),
        "structure": _structure(text),
        "formality": _formality(text, terms, sentences),
        "hedging": _share(sentences, "hedges"),
        "warmth": _warmth(sentences),
        "humour": _humour(text, sentences),
        "concreteness": _concreteness(text, terms),
        "address": _address(sentences),
        "questions": _questions(parts, len(sentences)),
        "diversity": _diversity(terms),
        # Sentences that bring in an instance.
        "examples": math.sqrt(sum("instances" in part.topics for part in sentences) / (len(sentences) + 2 * _MORE)),
    }
    return found | {value: _bearing(sentences, value) for value in _lexicon()["values"]}


def _readability(terms: list[str], sentences: int) -> float:
    """LIX (Björnsson 1968) with its sign turned: words per sentence and the share of words of more than six letters."""
    size = len(terms)
    if not size:
        return -40.0
    lix = min(size / max(sentences, 1), 60.0) + 100 * sum(len(term) > 6 for term in terms) / size
    return -(size * lix + 40.0 * 25) / (size + 25)


def _structure(text: str) -> float:
    """How lines begin, read character by character: many marked lines, of several kinds."""
    kinds: Counter[str] = Counter()
    for line in text.split("\n"):
        start = line.strip()[:4]
        if not start or start[:3] in {"---", "***", "==="}:
            continue
        if start[0] in "#|":
            kinds[start[0]] += 1
        elif start[:2] in {"- ", "* ", "+ ", "• "} or start[0] == "•":
            kinds["-"] += 1
        elif start[0].isdigit() and start.lstrip("0123456789")[:1] in {".", ")"}:
            kinds["1"] += 1
        elif start[:2] == "**":
            kinds["*"] += 1
    marked = sum(kinds.values()) - 0.5 * kinds["*"]
    return math.sqrt(min(marked, 60.0)) * (1 + 0.15 * len(kinds))


def _formality(text: str, terms: list[str], sentences: list[_Sentence]) -> float:
    """Latinate endings and stiff connectives against apostrophes, exclamations and casual stems (as in Pavlick & Tetreault 2016)."""
    grave = sum(_grave(term) for term in terms) + 3 * sum("stiff" in part.topics for part in sentences)
    light = sum("'" in term or "’" in term for term in terms) + sum(len(term) == 1 for term in terms)
    light += (
        2 * min(text.count("!"), len(sentences))
        + 2 * sum("casual" in part.topics for part in sentences)
        + sum(term in {"you", "your", "me", "my"} for term in terms)
    )
    return (grave - light) / (len(terms) + 30)


def _share(sentences: list[_Sentence], topic: str) -> float:
    """Share of the sentences with at least one such stem; hedges after Hyland (1998), sentence by sentence as in CoNLL-2010."""
    return sum(topic in part.topics for part in sentences) / (len(sentences) + _MORE)


def _warmth(sentences: list[_Sentence]) -> float:
    """Sentences with kind stems, more if somebody is spoken to or it ends in an exclamation: VADER's idea (Hutto & Gilbert 2014)."""
    total = 0.0
    for part in sentences:
        if kind := part.leaning.get("kind", 0.0):
            total += kind * (
                0.5 + 0.4 * ("!" in part.text) + 0.6 * bool({"you", "your", "i", "me", "my", "we", "us", "i'm", "i'd"} & set(part.terms))
            )
        total += 0.25 * part.text.rstrip("\"' *").endswith("!")
    grave = sum(_grave(term) for part in sentences for term in part.terms)
    return (total - 0.06 * grave) / (len(sentences) + _MORE)


def _humour(text: str, sentences: list[_Sentence]) -> float:
    """Playful stems by sentence, stretched sounds, smileys, pile-ups of marks; Latinate endings speak against it."""
    marks = 0.5 * min(len(_STRETCHED.findall(text.lower())), 8) + 0.7 * min(len(_SMILE.findall(text)), 8)
    playful = sum(
        part.leaning.get("play", 0.0) + 0.5 * part.text.rstrip("\"' *)").endswith("!") + 0.15 * ("casual" in part.topics)
        for part in sentences
    )
    grave = sum(_grave(term) for part in sentences for term in part.terms)
    return math.sqrt((playful + marks) / (len(sentences) + _MORE)) - 0.15 * grave / (len(sentences) + _MORE)


def _concreteness(text: str, terms: list[str]) -> float:
    """Stems of things and numbers against endings of ideas: concrete words are short and seldom derived (Reilly & Kean 2007)."""
    things = sum("things" in _bears(term) for term in terms) + 0.25 * min(len(_NUMBER.findall(text)), len(terms) // 8)
    return (things - 0.6 * sum(_is_idea(term) for term in terms)) / (len(terms) + 30)


def _address(sentences: list[_Sentence]) -> float:
    """Share of the sentences that say `you` or begin with an order."""
    spoken = 0.0
    for part in sentences:
        if any(term.startswith("you") and term not in {"young", "younger", "youngest", "youth"} for term in part.terms):
            spoken += 1.0
        elif part.terms[0] in _lexicon()["orders"]:
            spoken += 0.5
    return spoken / (len(sentences) + _MORE)


def _questions(parts: list[_Sentence], sentences: int) -> float:
    """Sentences that end in a question mark; those that also begin with a word that asks count more."""
    asked = sum(1.0 + 0.3 * bool(part.terms and _ASKS.match(part.terms[0])) for part in parts if _ENDS_ASKING.search(part.text))
    return math.log1p(asked) * math.sqrt(asked / (sentences + _MORE)) if asked else 0.0


def _diversity(terms: list[str]) -> float:
    """Yule's K (1944) with its sign turned, on a logarithmic scale: how rarely two words drawn at random are the same."""
    size = len(terms)
    if not size:
        return _ORDINARY
    repeats = sum(count * (count - 1) for count in Counter(terms).values())
    # A second term: words that come once, which K hardly sees (Honoré's idea, 1979).
    once = sum(count == 1 for count in Counter(terms).values())
    value = -math.log(10_000 * (repeats + 1) / (size * size) + 10) + 2.0 * once / (math.pow(size, 0.85) + 1)
    return (size * value + 60 * _ORDINARY) / (size + 60)


def _bearing(sentences: list[_Sentence], value: str) -> float:
    """Mean certainty that a sentence bears on one of Schwartz's values (1992)."""
    return math.sqrt(sum(part.leaning.get(value, 0.0) for part in sentences) / (len(sentences) + _MORE))


def _sentence(text: str) -> _Sentence:
    terms = [term[:_LONGEST] for term in _TERM.findall(text.lower())]
    topics, doubt = set[str](), dict[str, float]()
    for term in dict.fromkeys(terms):
        for topic, sureness in _bears(term).items():
            topics.add(topic)
            doubt[topic] = doubt.get(topic, 1.0) * (1 - sureness)
    return _Sentence(text.strip(), terms, frozenset(topics), {topic: 1 - left for topic, left in doubt.items()})


@lru_cache(maxsize=1 << 15)
def _bears(term: str) -> Mapping[str, float]:
    """What a word bears on, and how surely: per topic the longest stem decides."""
    stems, found = _stems(), dict[str, float]()
    term = term.replace("’", "'")
    for end in range(2, min(len(term), 14) + 1):
        found |= stems.get(term[:end], {})
    return found | stems.get(term + ".", {})


@lru_cache(maxsize=1 << 15)
def _spoken(term: str) -> int:
    return max(1, len(_VOWELS.findall(term)))


@lru_cache(maxsize=1 << 15)
def _grave(term: str) -> bool:
    return len(term) > 6 and _GRAVE.search(term[-12:]) is not None


@lru_cache(maxsize=1 << 15)
def _is_idea(term: str) -> bool:
    return len(term) > 5 and _IDEA.search(term[-12:]) is not None


@cache
def _stems() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    content = _lexicon()
    listed = [
        (value, entry[part], sure) for value, entry in content["values"].items() for part, sure in (("loose", _LOOSE), ("firm", _FIRM))
    ]
    listed += [(name, content["style"][name], 0.6) for name in content["style"] if name != "orders"]
    for name, stems, sure in listed:
        for stem in stems.split():
            found.setdefault(stem, {})[name] = sure
    return found


@cache
def _lexicon() -> Mapping[str, Any]:
    content = yaml.safe_load((files("prefloom.data") / "society" / "lexicon_reading.yaml").read_text(encoding="utf-8"))
    return {**content, "orders": frozenset(content["style"]["orders"].split())}
