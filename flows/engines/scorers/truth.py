r"""What planted tastes are made of: twenty properties counted with word lists, as text analysis by dictionaries does it.

    measure("- Boil the water.\n- Add salt.")   ->  {"length": 1.8, "readability": 57.2, "structure": 1.1, …}      not standardised

A rate is a count per word, with 20 words more than there are, so that a single word is no extreme, and the same word counts three times at
most. The lists are in data/society/lexicon_truth.yaml. This module shares no code and no list with held_out.py and reading.py.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import pyphen
import yaml

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
# Repeats are bounded: an open one would be tried again from every one of a million marks.
_STOP = re.compile(r"[.!?]{1,8}[\"')*\]]{0,4}\s|\n+")
_LINES: tuple[tuple[float, re.Pattern[str]], ...] = (
    (2.0, re.compile(r"\s{0,12}#{1,6}\s+\S")),  # a heading
    (1.5, re.compile(r"\s{0,12}\*\*[^*\n]{1,80}\*\*:?\s*$")),  # a bold line on its own serves as one
    (1.0, re.compile(r"\s{0,12}(?:[-*•+]|\d{1,3}[.)])\s+\S")),  # an item
    (1.0, re.compile(r"\s{0,12}\|.*\|\s*$")),  # a row of a table
)
_QUESTION = re.compile(r"\?{1,8}[\"')*\]]{0,4}(?=\s|$)")
_EXCLAIMED = re.compile(r"(?<=[\w)\]*\"'])!(?=!{0,3}[\"')*\]]{0,3}(?:\s|$))")  # not those of code
_PICTURE = re.compile("[\U0001f300-\U0001faff☀-➿]")
_NOMINAL = re.compile(r"(?:tion|sion|ment|ness|ity|ance|ence|ism|ship|ure|ics)s?$")
_ADJECTIVE = re.compile(r"(?:ive|ous|al|ic|able|ible|ary|ful|ent|ant)$")
_SMOOTH = 20  # words that every text has more, for rates
_LONGEST = 24  # letters of a word


class _Read(NamedTuple):
    """A text as all properties see it."""

    text: str
    words: list[str]
    hits: Counter[str]
    sentences: int


def measure(text: str) -> dict[str, float]:
    """All properties by name."""
    read = _read(text)
    found = {name: function(read) for name, function in _STYLE.items()}
    return found | {value: math.sqrt(_rate(read, value)) for value in _lexicon()["values"]}


def length(read: _Read) -> float:
    """Words, on a logarithmic scale: twice as long is felt alike everywhere."""
    return math.log1p(len(read.words))


def readability(read: _Read) -> float:
    """Flesch's reading ease (1948): short sentences of short words. Drawn to the ordinary where there are few words."""
    count = len(read.words)
    if not count:
        return 50.0
    syllables = sum(_syllables(word) if len(word) <= _LONGEST else len(word) // 3 for word in read.words)
    ease = 206.835 - 1.015 * min(count / read.sentences, 60.0) - 84.6 * min(syllables / count, 4.0)
    return (count * max(ease, -50.0) + 50.0 * _SMOOTH) / (count + _SMOOTH)


def structure(read: _Read) -> float:
    """Headings, list items and rows of tables: what Markdown offers to the eye."""
    marks = 0.0
    for line in read.text.splitlines():
        marks += next((weight for weight, kind in _LINES if kind.match(line)), 0.0)
    return math.log1p(marks) + 0.1 * math.log1p(read.text.count("**") / 2)


def formality(read: _Read) -> float:
    """F-score of Heylighen & Dewaele (2002): nouns, adjectives, prepositions and articles against pronouns, verbs, adverbs, interjections.

    Word classes are told by closed lists and by endings; nobody tags parts of speech here.
    """
    deep = sum(read.hits[name] for name in ("prepositions", "articles", "nominal", "adjective"))
    shallow = sum(read.hits[name] for name in ("pronouns", "verbs", "adverbs")) + 4 * read.hits["informal"]
    shallow += 2 * len(_EXCLAIMED.findall(read.text)) + 2 * sum("'" in word for word in read.words) + 4 * len(_PICTURE.findall(read.text))
    return (deep - shallow) / (len(read.words) + _SMOOTH)


def hedging(read: _Read) -> float:
    """Words and phrases that withhold commitment, after Hyland's lists (1998)."""
    return read.hits["hedging"] / (len(read.words) + _SMOOTH)


def warmth(read: _Read) -> float:
    """Kind words as in affective word lists (AFINN's idea, Nielsen 2011): strong ones count thrice.

    Exclamation marks and being spoken to add a little; nouns made of verbs take a little away.
    """
    cues = 3 * read.hits["warmth+"] + read.hits["warmth"] + _exclaimed(read) + 0.1 * read.hits["address"]
    return math.sqrt(cues / (len(read.words) + 1.5 * _SMOOTH)) - 0.4 * read.hits["nominal"] / (len(read.words) + _SMOOTH)


def humour(read: _Read) -> float:
    """Words of jokes and play, interjections, exclamation marks, pictures: surface cues of one-liners (Mihalcea & Strapparava 2006).

    Contractions speak for a light voice a little, and nouns made of verbs against it.
    """
    cues = 3 * read.hits["humour+"] + read.hits["humour"] + 1.5 * _exclaimed(read) + 2 * min(len(_PICTURE.findall(read.text)), 6)
    cues += 0.25 * sum("'" in word for word in read.words)
    return math.sqrt(cues / (len(read.words) + 2 * _SMOOTH)) - 0.6 * read.hits["nominal"] / (len(read.words) + _SMOOTH)


def concreteness(read: _Read) -> float:
    """Words for what one can touch, against words for ideas: the two ends of ratings such as Brysbaert's (2014)."""
    return (read.hits["concrete"] - read.hits["abstract"] - 0.5 * read.hits["nominal"]) / (len(read.words) + _SMOOTH)


def address(read: _Read) -> float:
    """Second person, and sentences that begin with an order: how much the reader is spoken to (Biber 1988, involved style)."""
    return (2 * read.hits["address"] + read.hits["order"]) / (len(read.words) + _SMOOTH)


def questions(read: _Read) -> float:
    """Question marks that end something, against sentences."""
    return math.sqrt(len(_QUESTION.findall(read.text)) / (read.sentences + 3))


def diversity(read: _Read) -> float:
    """MTLD (McCarthy & Jarvis 2010): how many words it takes until the share of new ones falls to 0.72, forwards and backwards."""
    words = read.words
    if not words:
        return math.log(80.0)
    found = (_stretch(words) + _stretch(words[::-1])) / 2
    return (len(words) * math.log(min(max(found, 5.0), 400.0)) + 60 * math.log(80.0)) / (len(words) + 60)


def examples(read: _Read) -> float:
    """Phrases that bring in an instance: for example, such as, e.g., imagine that."""
    return math.sqrt(read.hits["examples"] / (len(read.words) + 60))


_STYLE = {
    function.__name__: function
    for function in (
        *(length, readability, structure, formality, hedging, warmth),
        *(humour, concreteness, address, questions, diversity, examples),
    )
}


def _stretch(words: Sequence[str]) -> float:
    """Mean length of a stretch in which the type-token ratio stays above 0.72."""
    factors, seen, run = 0.0, set[str](), 0
    for word in words:
        seen.add(word)
        run += 1
        if len(seen) < 0.72 * run:
            factors, run = factors + 1, 0
            seen.clear()
    if run:
        factors += (1 - len(seen) / run) / 0.28
    return len(words) / max(factors, 0.25)


def _exclaimed(read: _Read) -> int:
    return min(len(_EXCLAIMED.findall(read.text)), len(read.words) // 4 + 1)


def _rate(read: _Read, value: str) -> float:
    """How much of the text speaks of one of Schwartz's values (1992), in the words of its list."""
    return (3 * read.hits[value + "+"] + read.hits[value]) / (len(read.words) + 1.5 * _SMOOTH)


def _read(text: str) -> _Read:
    lowered = text.lower().replace("’", "'")
    words = _WORD.findall(lowered)
    hits: Counter[str] = Counter()
    terms = Counter(word[:_LONGEST] for word in words)  # what is longer is no word, and caches need not keep it
    phrases = _entries()[1]
    terms.update(pair for pair in map("{}_{}".format, words, words[1:]) if pair in phrases)
    for term, count in terms.items():
        topics, always = _classes(term)
        for name in topics:
            hits[name] += min(count, 3)
        for name in always:
            hits[name] += count
    sentences = [part for part in _STOP.split(lowered + "\n") if _WORD.search(part)]
    orders = _lexicon()["orders"]
    hits["order"] = sum(found is not None and found.group() in orders for found in map(_WORD.search, sentences))
    return _Read(text, words, hits, max(len(sentences), 1))


@lru_cache(maxsize=1 << 15)
def _syllables(word: str) -> int:
    # Words may be hyphenated in fewer places than their syllables end: the larger of that and the groups of vowels comes closer.
    vowels = len(re.findall(r"[aeiouy]+", word.removesuffix("e")))
    return max(1, len(_hyphenation().positions(word)) + 1, vowels)


@cache
def _hyphenation() -> Any:
    return pyphen.Pyphen(lang="en_US", left=1, right=1)


@lru_cache(maxsize=1 << 15)
def _classes(term: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lists that hold a word or a phrase: those where a word counts three times at most, and those where it always counts."""
    words, phrases, starts = _entries()
    if "_" in term:
        names = phrases.get(term, frozenset())
    else:
        ends = range(3, min(len(term), _LONGEST) + 1)
        names = words.get(term, frozenset()).union(*(starts.get(term[:end], frozenset()) for end in ends))
        names |= {"nominal"} if len(term) > 6 and _NOMINAL.search(term) else set()
        names |= {"adjective"} if len(term) > 5 and _ADJECTIVE.search(term) else set()
    names -= {name.removesuffix("+") for name in names if name.endswith("+")}
    capped = {name for name in names if name in _lexicon()["capped"]}
    return tuple(sorted(capped)), tuple(sorted(names - capped))


_Index = dict[str, frozenset[str]]


@cache
def _entries() -> tuple[_Index, _Index, _Index]:
    """Words, phrases, beginnings of words -> names of the lists they are in ("health+" for the strong ones)."""
    found: tuple[_Index, _Index, _Index] = ({}, {}, {})
    for name, entries in _lexicon()["lists"].items():
        for entry in entries.split():
            index = found[2] if entry.endswith("*") else found[1] if "_" in entry else found[0]
            for spelling in _spellings(entry.rstrip("*")):
                index[spelling] = index.get(spelling, frozenset()) | {name}
    return found


def _spellings(entry: str) -> list[str]:
    """British and American: a question mark in an entry is an s, a z or a c."""
    return [entry.replace("?", letter) for letter in "szc"] if "?" in entry else [entry]


@cache
def _lexicon() -> Mapping[str, Any]:
    content = yaml.safe_load((files("prefloom.data") / "society" / "lexicon_truth.yaml").read_text(encoding="utf-8"))
    lists: dict[str, str] = {}
    for name, entry in (content["values"] | content["style"]).items():
        lists |= {name + "+": entry["strong"], name: entry["weak"]} if isinstance(entry, dict) else {name: entry}
    orders = frozenset(lists.pop("imperatives").split())
    capped = {name for name in lists if name.removesuffix("+") in {*content["values"], "warmth", "humour"}}
    return {"values": tuple(content["values"]), "lists": lists, "orders": orders, "capped": frozenset(capped)}
