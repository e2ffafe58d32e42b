"""How many calls a server gets at once: up to `most` while it copes, fewer when it says 429 or slows down, never fewer than `floor`.

    limit = Adaptive(floor=4, most=256, timeout=600)
    limit.answered(seconds=0.21); limit.timed_out(); await sleep(limit.throttled())           limit.now  ->  179

A slot that gets a 429 rests for half as long as an answer takes. Where a server has no room for the slots above its capacity, those do
nothing but rest, so the share of time at rest says how many slots are too many; a gateway that refuses a constant share of calls, however
few there are, costs its slots little rest and the limit nothing. Slow replies shrink the limit before they become time-outs.
"""

import time
from collections.abc import Callable

_TOO_MUCH = 0.25  # share of the slots' time at rest above which there are fewer slots: two calls in five refused
_LITTLE = 0.05  # below which there are more
_SLOW = 0.7  # what is left of the limit if replies take a quarter of the time-out
_WINDOW = 0.25  # seconds that a window lasts at least
_LONGEST = 30.0  # seconds that a slot rests at most


class Adaptive:
    """Looks at windows of twice as many replies as may be in flight."""

    def __init__(self, floor: int, most: int, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.floor, self.most, self._timeout, self._clock = floor, most, timeout, clock
        self.now = most
        self._latency = 0.1  # seconds that an answer takes, about
        self._streak = 0  # 429s since the last answer
        self._begin()

    def _begin(self) -> None:
        self._outcomes, self._worked, self._rested, self._since = 0, 0.0, 0.0, self._clock()

    def answered(self, seconds: float) -> None:
        """A reply came after so long, good or bad."""
        self._latency += (seconds - self._latency) / 16
        self._streak = 0
        self._worked += seconds
        self._look()

    def timed_out(self) -> None:
        """No reply within the time-out."""
        self._worked += self._timeout
        self._look()

    def throttled(self) -> float:
        """The server said 429, or 503 with a time to come back. Seconds to rest: twice as long for every round of nothing else."""
        rest = min(_LONGEST, self._latency / 2 * 2.0 ** min(self._streak // self.now, 16))
        self._streak += 1
        self._rested += rest
        self._look()
        return rest

    def _look(self) -> None:
        self._outcomes += 1
        elapsed = self._clock() - self._since
        if self._outcomes < max(64, 2 * self.now) or elapsed < max(_WINDOW, 2 * self._latency):
            return
        rested = self._rested / (self._rested + self._worked or 1.0)
        if self._worked / self._outcomes > self._timeout / 4:
            self.now = max(self.floor, int(self.now * _SLOW))
        elif rested > _TOO_MUCH and self.now > self.floor:
            self.now, self._streak = max(self.floor, int(self.now * (1 - rested))), 0  # it was for more slots than there are now
        elif rested < _LITTLE:
            self.now = min(self.most, self.now + max(1, self.now // 10))
        self._begin()
