"""How many calls a server gets at once: up to `most` while it copes, fewer when it says 429 or slows down, never fewer than `floor`.

    limit = Adaptive(floor=4, most=256, timeout=600)
    limit.throttled(); limit.answered(seconds=0.21); limit.timed_out()        limit.now  ->  179

It looks at windows of as many replies as may be in flight. A window in which more than one reply in twenty was a 429 shrinks the limit; if
that costs answers per second, the 429s were not about load (a gateway that refuses a constant share does that), and the limit goes back to
where it was and stays there for a while. A window without 429s raises it. Slow replies shrink it before they become time-outs.
"""

import time
from collections.abc import Callable

_REFUSED = 0.05  # share of 429s that a window may have
_SHRINK = 0.7
_LOSS = 0.9  # share of the answers per second that a smaller limit must keep
_IMMUNE = 10  # windows without shrinking, once shrinking has not helped
_WINDOW = 0.25  # seconds that a window lasts at least


class Adaptive:
    """Additive increase, multiplicative decrease, with a test of whether the decrease helped."""

    def __init__(self, floor: int, most: int, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.floor, self.most, self._timeout, self._clock = floor, most, timeout, clock
        self.now = most
        self._before: tuple[int, float] | None = None  # limit and answers per second before the last decrease
        self._immune = 0
        self._begin()

    def _begin(self) -> None:
        self._answered = self._throttled = self._timed_out = 0
        self._seconds, self._since = 0.0, self._clock()

    def answered(self, seconds: float) -> None:
        """A reply came after so long, good or bad."""
        self._answered += 1
        self._seconds += seconds
        self._look()

    def throttled(self) -> None:
        """The server said 429, or 503 with a time to come back."""
        self._throttled += 1
        self._look()

    def timed_out(self) -> None:
        """No reply within the time-out."""
        self._timed_out += 1
        self._look()

    def _look(self) -> None:
        outcomes, elapsed = self._answered + self._throttled + self._timed_out, self._clock() - self._since
        if outcomes < max(32, self.now) or elapsed < _WINDOW:
            return
        rate = self._answered / elapsed
        slow = self._timed_out > 0 or (self._answered > 0 and self._seconds / self._answered > self._timeout / 4)
        before, self._before = self._before, None
        if before and rate < _LOSS * before[1]:
            self.now, self._immune = before[0], _IMMUNE
        elif slow or (self._throttled > _REFUSED * outcomes and not self._immune):
            self._before = None if slow else (self.now, rate)
            self.now = max(self.floor, int(self.now * _SHRINK))
        elif not self._throttled:
            self.now = min(self.most, self.now + max(1, self.now // 10))
        self._immune = max(0, self._immune - 1)
        self._begin()
