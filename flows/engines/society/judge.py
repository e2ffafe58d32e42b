"""How a member of the society judges a comparison for a person, from the rendered passages alone.

    judge({"first": "…", "second": "…", "persona": "…"}, rubric, {"slope": 1.5, "first": 0.35, …})
    -> ("A", {"A": -0.3211, "B": -1.4035})

log-odds of the first = slope · taste · (features of first - features of second)
                        + misreading (same in both orders) + wording (of the rubric, same for all persons)
                        + first (constant liking for whatever comes first) + slip (differs by order)

It is a plain judge with plain faults: misreading, wording and slip are normal numbers fixed by the texts they stand for.
"""

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache
from statistics import NormalDist

from prefloom.flows.engines.society.reading import measure, taste

REFUSAL = "I would rather not choose on somebody else's behalf."
_normal = NormalDist()


def judge(passages: Mapping[str, str], rubric: str, traits: Mapping[str, float]) -> tuple[str, dict[str, float] | None]:
    """(what it says, log-probabilities of the two letters, or None where it refuses)."""
    first, second = _digest(passages["first"]), _digest(passages["second"])
    persona, words = _digest(passages["persona"]), _digest(rubric)
    shown = _uniforms(first, second, persona, _digest(passages.get("task", "")))
    if shown[0] < traits["refuses"]:
        return REFUSAL, None
    # Terms that must change sign when the answers trade places are drawn for the sorted pair and signed by the order.
    sign = 1.0 if first < second else -1.0
    pair = min(first, second) + max(first, second)
    misreading = _normal.inv_cdf(_uniforms(pair, persona)[0])
    wording = _normal.inv_cdf(_uniforms(pair, words)[0])
    slip = _normal.inv_cdf(shown[1])
    wanted = taste(passages["persona"])
    gap = sum(w * (a - b) for w, a, b in zip(wanted, measure(passages["first"]), measure(passages["second"]), strict=True))
    wobble = traits["wobble"]
    log_odds = traits["slope"] * gap + wobble * (sign * (misreading + 0.5 * wording) + slip) + traits["first"]
    mass = 1.0 - min(0.98, traits["off_menu"] * 0.5 * math.log(shown[2]) ** 2)
    log_mass = math.log(mass)
    logprobs = {"A": round(log_mass - _softplus(-log_odds), 4), "B": round(log_mass - _softplus(log_odds), 4)}
    return ("A" if log_odds >= 0 else "B"), logprobs


@lru_cache(maxsize=2048)
def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _uniforms(*parts: bytes) -> list[float]:
    """Three numbers in (0, 1), fixed by the parts."""
    digest = hashlib.blake2b(b"".join(parts), digest_size=24).digest()
    return [(int.from_bytes(digest[i : i + 8]) + 0.5) / 2.0**64 for i in (0, 8, 16)]


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
