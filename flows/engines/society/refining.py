"""How members of the society help to refine a description: when a judge cannot tell, and what a writer adds.

    doubts([Asked(first, second, persona, wording)])  ->  [0.61]   standard deviations of utility that the description leaves open
    sentence(chosen, other, "A baker from Pune.")     ->  "As a reader, this person leans towards brevity."

A judge that may say "cannot tell" does so where what the description leaves open would outweigh what it says: tastes that no cue states
count with what the two answers differ in, as the judge's own scorers see it. Who writes names the property in which the answers differ most
among those of which the description says nothing (among all, if it speaks of every one), in the milder of the words in which people are
described.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from prefloom.flows.engines.scorers import PROPERTIES
from prefloom.flows.engines.society import reader, wording
from prefloom.flows.engines.society.chance import Floats
from prefloom.flows.engines.society.judge import Asked
from prefloom.flows.engines.society.people import block_scale

_DOUBT = 0.5  # log-odds of "cannot tell" against an even choice, for one standard deviation that is open, in units of the judge's slope


def doubts(asked: Sequence[Asked]) -> list[float]:
    """For each reading: the standard deviation of what the unstated tastes may add to the gap between its answers."""
    return [float(np.sqrt(((1 - _stated(one.persona)) * (block_scale(0.5) * _apart(one.first, one.second)) ** 2).sum())) for one in asked]


def three(log_odds: float, doubt: float, slope: float) -> tuple[float, float, float]:
    """Log-probabilities of the first, the second, and of neither."""
    logits = (log_odds / 2, -log_odds / 2, slope * _DOUBT * doubt)
    top = max(logits)
    total = top + math.log(math.fsum(math.exp(logit - top) for logit in logits))
    return logits[0] - total, logits[1] - total, logits[2] - total


def sentence(chosen: str, other: str, persona: str) -> str:
    """One sentence on somebody who chose one answer over another."""
    apart = _apart(chosen, other)
    open_ = 1 - _stated(persona)
    size = np.abs(block_scale(0.5) * apart).round(9)
    place = int(np.argmax(np.where(open_ > 0, size, -1.0) if open_.any() else size))
    level = 1 if apart[place] >= 0 else -1  # one choice tells a direction and no strength
    name = hashlib.blake2b(f"{chosen}\0{other}\0{persona}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"As a reader, this person {wording.clause(PROPERTIES[place], level, f'append/{name}')}."


def _stated(persona: str) -> Floats:
    """1.0 for what the description speaks of, one entry per property."""
    if not persona:
        return np.zeros(len(PROPERTIES))
    told = reader.read(persona)
    return np.ones(len(PROPERTIES)) if told.exact is not None else told.stated


def _apart(one: str, other: str) -> Floats:
    """The first text less the second, in standard deviations of each property."""
    seen = reader.see([one, other])[:, : len(PROPERTIES)]
    return np.asarray(seen[0] - seen[1])
