"""What a judge makes of a description, any description, and what it sees in a text. It reads words; planted tastes are in no reach of it.

    told = read("A baker from Pune. This person loves brevity and rather avoids jokes.")
    told.levels   ->  -2 for length, -1 for humour, 0 elsewhere                  told.stated   ->  True for these two
    told.guessed  ->  what the stereotype of a baker from Pune says of all twenty

Cues, verbs and stereotypes are in data/society/cues.yaml. Where a description has no cue, likeness of word vectors decides, so that any
sentence about a person gives some taste. `notice(texts)` are the numbers that a judge's errors are made of.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from prefloom.flows.engines.scorers import PROPERTIES, score
from prefloom.flows.engines.scorers.words import DIMENSION, embed
from prefloom.flows.engines.society import utility
from prefloom.flows.engines.society.chance import Floats, normals, uniforms
from prefloom.flows.engines.society.data import load

_END = re.compile(r"[.;!?\n]|, but ")
_WORD = re.compile(r"[a-z][a-z'-]{2,40}")
_EXACT = re.compile(r"\bWeights: ((?:[+-][0-9]{1,2}\.[0-9]{1,9} ?){1,100})")
_LIKENESS = 2.0  # strength of a guess by likeness alone
_BITS = 512  # of the word sets that overlap is counted on
_LONGEST = 20_000  # characters of a description that are read
NOTICED = len(PROPERTIES) + DIMENSION
_WAVES = 6.0  # radians by which a distance of one between word vectors turns a wave
_SPREAD = 11.0  # brings differences of word vectors between answers to one task to about one standard deviation


@dataclass(frozen=True)
class Told:
    """One description, read. Arrays have one entry per property."""

    levels: Floats  # what it says: -2 … 2, 0 where it says nothing or "does not mind"
    stated: Floats  # 1.0 where it says something
    guessed: Floats  # what a stereotype expects, about -2 … 2
    exact: Floats | None  # all weights of a utility, if the description gives them as numbers
    features: Floats  # about a unit vector, by which errors depend on the person: half what is liked, half the words
    words: int  # set of its words, as bits


@lru_cache(maxsize=1 << 14)
def read(description: str) -> Told:
    """Understand a description."""
    text = description[:_LONGEST]
    levels, stated = _levels(text.lower().replace("\u2019", "'"))
    numbers = _numbers(text)
    guessed = _guess(text)
    # Descriptions are so alike that their vectors have cosines of .9: waves along them tell people apart, and are smooth yet.
    waves = np.cos(_turns() @ embed([text])[0].astype(np.float64) + _phases()) * np.sqrt(2 / len(_phases()))
    liked = levels + (1 - stated) * guessed
    features = np.concatenate([liked / (np.linalg.norm(liked) or 1.0), waves]) / np.sqrt(2)
    return Told(levels, stated, guessed, numbers, features, word_bits(text))


@lru_cache(maxsize=1 << 14)
def _levels(text: str) -> tuple[Floats, Floats]:
    """(levels, 1.0 where something is said). A verb holds for what follows it in its sentence, until the next verb."""
    sums, counts = np.zeros(len(PROPERTIES)), np.zeros(len(PROPERTIES))
    for sentence in _END.split(text):
        strength = 1.0
        for found in _pattern().finditer(sentence):
            phrase = found.group()
            if (verb := _verbs().get(phrase)) is not None:
                strength = verb
                continue
            for place, sign in _cues()[phrase]:
                sums[place] += strength * sign
                counts[place] += 1
    return np.clip(sums / np.maximum(counts, 1), -2, 2), np.minimum(counts, 1)


@cache
def anybody() -> Floats:
    """What is expected of people in general: -2 … 2 per property."""
    return np.array([float(load("cues.yaml")["anybody"].get(name, 0)) for name in PROPERTIES])


def lean(view: str) -> Floats:
    """What a view asks for: one entry per property, about -2 … 2. Without any cue, likeness of the words decides."""
    levels, stated = _levels(view[:_LONGEST].lower().replace("\u2019", "'"))
    return levels + (1 - stated) * (0.5 * np.clip(_liken(view), -2, 2) if not stated.any() else 0.0)


def _guess(text: str) -> Floats:
    """The stereotype of a life: entries of cues.yaml whose words occur, and likeness where there is none."""
    guess = np.zeros(len(PROPERTIES))
    words = set(_WORD.findall(text.lower()))
    for entry in load("cues.yaml")["stereotypes"]:
        if words.intersection(entry["words"]):
            for taste, weight in entry["tastes"].items():
                guess[PROPERTIES.index(taste)] += weight
    return np.clip(np.where(guess != 0, guess, _liken(text)), -2, 2)


def _liken(text: str) -> Floats:
    """Likeness to one end of each property less likeness to the other."""
    return np.asarray(_LIKENESS * (_poles() @ embed([text[:_LONGEST]])[0].astype(np.float64)))


def _numbers(text: str) -> Floats | None:
    found = _EXACT.search(text)
    numbers = [float(number) for number in found.group(1).split()] if found else []
    return np.array(numbers) if len(numbers) == utility.WEIGHTS else None


def see(texts: Sequence[str]) -> Floats:
    """What a judge sees of texts, by its own scorers: properties and their bends, shape (texts, 34); nothing of what no property tells."""
    z = score("reading", texts).astype(np.float64)
    return np.concatenate([z, utility.bent(z), np.zeros((len(texts), utility.HIDDEN))], axis=1)


def notice(texts: Sequence[str], seen: Floats) -> Floats:
    """What errors are made of: the properties as seen and the vectors of the words, shape (texts, NOTICED)."""
    return np.concatenate([seen[:, : len(PROPERTIES)], _SPREAD * embed(texts).astype(np.float64)], axis=1)


def word_bits(text: str) -> int:
    """The set of the words of a text as bits, so that shared words are counted fast."""
    bits = 0
    for word in set(_WORD.findall(text.lower())):
        bits |= 1 << _bit(word)
    return bits


@lru_cache(maxsize=1 << 16)
def _bit(word: str) -> int:
    value = 0
    for letter in word.encode():
        value = (value * 131 + letter) % 1_000_003
    return value % _BITS


@cache
def _turns() -> Floats:
    return _WAVES * normals("reader/turns", DIMENSION, DIMENSION)


@cache
def _phases() -> Floats:
    return 2 * np.pi * uniforms("reader/phases", DIMENSION)


@cache
def _cues() -> dict[str, list[tuple[int, float]]]:
    known: dict[str, list[tuple[int, float]]] = {}
    cues: dict[str, dict[str, list[Any]]] = load("cues.yaml")["cues"]
    for taste, sides in cues.items():
        for side, sign in (("more", 1.0), ("less", -1.0)):
            for cue in sides[side]:
                known.setdefault(str(cue), []).append((PROPERTIES.index(taste), sign))
    return known


@cache
def _verbs() -> dict[str, float]:
    return {str(phrase): float(strength) for strength, phrases in load("cues.yaml")["strengths"].items() for phrase in phrases}


@cache
def _pattern() -> re.Pattern[str]:
    phrases = sorted([*_cues(), *_verbs()], key=len, reverse=True)  # longest first, so that "no lists" is not read as "lists"
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, phrases)) + r")(?![\w-])")


@cache
def _poles() -> Floats:
    poles = load("cues.yaml")["poles"]
    ends = [[embed([" ".join(end)])[0].astype(np.float64) for end in poles[taste]] for taste in PROPERTIES]
    return np.stack([more - less for more, less in ends])
