r"""What simulated judges read with: the same twenty properties from the letters of words and from how sentences begin and end.

    measure("- Boil the water.\n- Add salt.")   ->  {"length": 1.9, "readability": -33.8, "structure": 1.6, …}      not standardised

Where truth.py counts words and held_out.py looks for their neighbours, this one goes by stems, the first letters of words: each bears on a
property more or less surely, and the more often a word has come, the less it adds. Rates are to all words, with 30 more than there are, so
that a short text is no extreme. This module shares no code and no list with the other two.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

_TERM = re.compile(r"e\.g\.|[a-z]+(?:'[a-z]+)*")
_CUT = re.compile(r"(?<=[.!?;:])[\"”')*]*\s+|\n+")
_VOWELS = re.compile(r"[aeiouy]+")
_GRAVE = re.compile(r"(?:tion|sion|ment|ance|ence|ency|ity|ism|ology|tive|ous|ical|ible|able|ize|ise|ify)(?:s|d|ly)?$")
_IDEA = re.compile(r"(?:tion|sion|ment|ness|ity|ance|ence|ency|ism|ology|ship|hood|acy|dom)s?$|(?:ical|ive|ual|ial)(?:ly)?$")
_NUMBER = re.compile(r"\b\d+(?:[.,/]\d+)*")
_STRETCHED = re.compile(r"(?!iii|www)([a-z])\1{2,6}|!\?|\?!|!{2,9}|\.{3}|…")
_SMILE = re.compile("[\U0001f300-\U0001faff☀-➿]|[:;]-?[)DP](?!\\w)")
_ENDS_ASKING = re.compile(r"\?[\"”')*_]*\s*$")
_ASKS = re.compile(r"(?:wh(?:o|om|ose|at|ich|en|ere|y)|how|is|are|do|does|did|can|could|would|will|should|have|has)$")
_LONGEST = 40  # letters of a word
_ORDINARY = -3.2  # diversity that a text has before anything is known of it
_STEADY = frozenset({"nominal", "verbal", "casual", "stiff", "spoken", "things"})  # topics on which a word bears however often it has come
_CALM = 30  # words that every text has more, for rates
_MORE = 3  # sentences that every text has more, for shares
_FIRM, _LOOSE = 0.9, 0.3  # how surely a word bears on a topic


class _Sentence(NamedTuple):
    text: str
    terms: list[str]


def measure(text: str) -> dict[str, float]:
    """All properties by name."""
    text = text.replace("’", "'")
    parts = [_Sentence(part.strip(), [term[:_LONGEST] for term in _TERM.findall(part.lower())]) for part in _CUT.split(text) if part]
    sentences = [part for part in parts if part.terms]
    terms = [term for part in sentences for term in part.terms]
    size = len(terms) + _CALM
    counts = Counter(terms)
    said = _said(counts, sentences)
    grave = sum(count for term, count in counts.items() if _grave(term))
    clipped = sum(count for term, count in counts.items() if "'" in term)
    cried = sum(part.text.rstrip("\"' *)").endswith("!") for part in sentences)
    odd = min(len(_STRETCHED.findall(text.lower())), 8) + min(len(_SMILE.findall(text)), 8)
    found = {
        # Groups of vowels: how long it takes to say.
        "length": math.log1p(sum(count * _spoken(term) for term, count in counts.items())),
        "readability": _readability(terms, len(sentences)),
        "structure": _structure(text),
        # Hedges after Hyland (1998).
        "hedging": said["hedges"] / size,
        # Kind words, and more of them where somebody is spoken to or it ends in an exclamation: VADER's idea (Hutto & Gilbert 2014).
        "warmth": math.sqrt((said["kind"] + 0.1 * said["spoken"] + 0.3 * cried) / size) - 0.25 * grave / size,
        # Playful words, stretched sounds, smileys, pile-ups of marks, and a little for a casual voice; Latinate endings speak against it.
        "humour": math.sqrt((said["play"] + 0.1 * (said["casual"] + clipped) + 0.5 * cried + 0.4 * odd) / size) - 0.3 * grave / size,
        # Little words that come with nouns against those that come with verbs (Biber 1988: informational or involved), besides Latinate
        # endings and stiff connectives against apostrophes, exclamations and casual words (as in Pavlick & Tetreault 2016).
        "formality": (said["nominal"] + said["stiff"] + grave - said["verbal"] - 3 * said["casual"] - 2 * (clipped + cried + odd)) / size,
        "concreteness": _concreteness(text, said["things"], counts, len(terms)),
        "address": _address(sentences),
        "questions": _questions(parts, len(sentences)),
        "diversity": _diversity(counts, len(terms)),
        # Phrases that bring in an instance.
        "examples": math.sqrt(said["instances"] / (size + _CALM)),
    }
    return found | {value: math.sqrt(said[value] / size) for value in _lexicon()["values"]}


def _said(counts: Mapping[str, int], sentences: list[_Sentence]) -> Mapping[str, float]:
    """How much the words, and pairs of words in a sentence, bear on each topic."""
    stems = _stems()
    seen = Counter(counts)
    seen.update(pair for part in sentences for pair in map("{}-{}".format, part.terms, part.terms[1:]) if pair in stems)
    found = dict.fromkeys((*_lexicon()["values"], *_lexicon()["style"]), 0.0)
    for term, count in seen.items():
        fading = count / (0.8 + 0.2 * count)
        for topic, sureness in _bears(term).items():
            found[topic] += sureness * (count if topic in _STEADY else fading)
    return found


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


def _concreteness(text: str, things: float, counts: Mapping[str, int], size: int) -> float:
    """Stems of things and numbers against endings of ideas: concrete words are short and seldom derived (Reilly & Kean 2007)."""
    ideas = sum(count for term, count in counts.items() if _is_idea(term))
    return (things + 0.25 * min(len(_NUMBER.findall(text)), size // 8) - 0.6 * ideas) / (size + _CALM)


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
    return math.sqrt(asked / (sentences + _MORE))


def _diversity(counts: Mapping[str, int], size: int) -> float:
    """Yule's K (1944) with its sign turned, on a logarithmic scale: how rarely two words drawn at random are the same."""
    if not size:
        return _ORDINARY
    repeats = sum(count * (count - 1) for count in counts.values())
    # A second term: words that come once, which K hardly sees (Honoré's idea, 1979).
    once = sum(count == 1 for count in counts.values())
    value = -math.log(10_000 * (repeats + 1) / (size * size) + 10) + 2.0 * once / (math.pow(size, 0.85) + 1)
    return (size * value + 60 * _ORDINARY) / (size + 60)


@lru_cache(maxsize=1 << 15)
def _bears(term: str) -> Mapping[str, float]:
    """What a word bears on, and how surely: per topic the longest stem decides. A pair has no stems but itself."""
    stems, found = _stems(), dict[str, float]()
    if "-" in term:
        return stems[term]
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
    for name, entry in (content["values"] | content["style"]).items():
        parts = ((entry["loose"], _LOOSE), (entry["firm"], _FIRM)) if isinstance(entry, dict) else ((entry, 1.0),)
        for stems, sure in parts:
            for stem in stems.split():
                found.setdefault(stem, {})[name] = sure
    return found


@cache
def _lexicon() -> Mapping[str, Any]:
    content = yaml.safe_load((files("prefloom.data") / "society" / "lexicon_reading.yaml").read_text(encoding="utf-8"))
    return {**content, "orders": frozenset(content["style"].pop("orders").split())}
