"""Which server gets a call, what is tried again, what waits, and what ends everything. All of it runs on one asyncio loop.

    pool = Pool("judge", settings, revive, tell);  pool.stations = [Station(pool, "http://gpu1:8000/v1"), …]
    pool.submit(calls)        each Call ends in call.done(replies), or in an error that everybody is told

A call goes to the server that its group belongs to (rendezvous hashing), so that requests which begin alike meet the same prefix cache; to
another one while that is down. What may heal (5xx, a broken connection, a torn reply, a time-out) is tried `attempts` times, at another
server if there is one; a 429 waits as long as the server asks and is not an attempt; a server that cannot be reached, or a gateway that
has nobody behind it, gives its calls away. Nothing times out while it waits for its turn. Only `patience` ends waiting for servers that
are all down or always say 429.
"""

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from aiolimiter import AsyncLimiter

from prefloom.flows.engines.endpoint.limits import Adaptive
from prefloom.flows.engines.endpoint.wire import Denied, Refused, Throttled, Transient, Unavailable, Unreachable
from prefloom.flows.engines.protocol import Reply
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Server

_log = logging.getLogger("prefloom")
_FIRST = 0.5  # seconds between the first two attempts, about; twice as many between the next
_LONGEST = 30.0  # at most
_LOOK = 0.25  # seconds until a server that was lost is looked for once more, half as many again each time
_GONE = 8  # gateways' errors in a row until the server behind it is taken to be down
_DENIALS = 20  # replies in a row that deny the key or the model until it is taken to be meant for all


@dataclass(slots=True, eq=False)
class Call:
    """One HTTP call to be made. `send` makes it; `done` takes what came of it; `wanted` says whether anybody still waits for it."""

    send: Callable[["Station"], Awaitable[list[Reply]]]
    done: Callable[[list[Reply]], None]
    wanted: Callable[[], bool]
    group: str
    flying: Callable[[int], None]  # 1 when it takes off, -1 when it lands
    tokens: int  # about how many it takes, for tokens_per_minute
    attempts: int = 0
    refusals: int = 0  # 429s that it met
    since: float = 0.0  # when it met the first of them


class Station:
    """One server: its queue, its workers, its limits."""

    def __init__(self, pool: "Pool", url: str) -> None:
        settings = pool.settings
        self.pool, self.url = pool, url
        self.queue: deque[Call] = deque()
        self.limit = Adaptive(min(settings.floor, settings.concurrency), settings.concurrency, settings.timeout)
        self.up, self.workers, self.answered = True, 0, False
        self.gone = 0  # gateway errors since the last other reply
        self._requests = _per_minute(settings.requests_per_minute)
        self._tokens = _per_minute(settings.tokens_per_minute)

    def pump(self) -> None:
        """Start as many workers as there is work and room for."""
        for _ in range(min(self.limit.now - self.workers, len(self.queue)) if self.up else 0):
            self.workers += 1
            self.pool.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self.up and self.queue and self.workers <= self.limit.now:
                call = self.queue.popleft()
                if call.wanted():
                    await self._serve(call)
        finally:
            self.workers -= 1

    async def _serve(self, call: Call) -> None:
        if self._requests:
            await self._requests.acquire()
        if self._tokens:
            for start in range(0, call.tokens, step := max(1, int(self._tokens.max_rate))):
                await self._tokens.acquire(min(step, call.tokens - start))
        if not call.wanted():
            return
        clock = asyncio.get_running_loop().time
        began, rest = clock(), 0.0
        self.pool.in_flight += 1
        call.flying(1)
        try:
            replies = await call.send(self)
        except Throttled as error:
            rest = min(self.limit.throttled(), self.pool.settings.patience / 8)
            self.pool.later(call, self, error)
        except Unreachable as error:
            self.queue.appendleft(call)
            self.pool.lost(self, str(error))
        except TimeoutError:
            self.limit.timed_out()
            self.pool.again(call, self, f"no reply within {self.pool.settings.timeout:g} s")
        except Transient as error:
            self.limit.answered(clock() - began)
            self.pool.heard()
            self.gone = self.gone + 1 if isinstance(error, Unavailable) else 0
            self.pool.again(call, self, str(error))
            if self.gone >= _GONE:
                self.gone = 0
                self.pool.lost(self, str(error))
        except Refused as error:
            self.limit.answered(clock() - began)
            self.pool.heard()
            self.gone = 0
            call.done([Reply(error=str(error))])
        except Denied as error:
            self.pool.denied(call, self, str(error))
        else:
            self.limit.answered(clock() - began)
            self.pool.heard()
            self.pool.denials, self.gone, self.answered = 0, 0, True
            call.done(replies)
        finally:
            self.pool.in_flight -= 1
            call.flying(-1)
            if self.queue and self.workers < self.limit.now:  # the limit has grown
                self.pump()
        if rest:
            await asyncio.sleep(rest)


class Pool:
    """The servers of one model."""

    def __init__(
        self, name: str, settings: Server, revive: Callable[[Station], Awaitable[bool]], tell: Callable[[BaseException], None]
    ) -> None:
        self.name, self.settings, self._revive, self._tell = name, settings, revive, tell
        self.stations: list[Station] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_flight = self.denials = 0
        self._up_at = 0.0  # when a server was last up
        self._refusing = 0.0  # since when they say nothing but 429
        self.error: BaseException | None = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it on the loop, and hold on to it while it runs."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.fail(error)  # also a fault of ours: whoever waits has to hear of it

    def submit(self, calls: Iterable[Call]) -> None:
        """Queue the calls, in their order."""
        for call in calls:
            self._home(call).queue.append(call)
        for station in self.stations:
            station.pump()

    def fail(self, error: BaseException) -> None:
        """Nothing can be answered any more: tell whoever waits."""
        for station in self.stations:
            station.queue.clear()
        self.error = self.error or error
        self._tell(error)

    def later(self, call: Call, station: Station, error: Throttled) -> None:
        """Put a call back that the server did not want now."""
        now, patience = asyncio.get_running_loop().time(), self.settings.patience
        call.since, self._refusing = call.since or now, self._refusing or now
        if (waited := now - self._refusing) >= patience and call.refusals:
            found = f"nothing but 429 from {station.url} for {waited:.0f} s ({error})"
            expected = "a server with room, or more patience; the same command goes on from here"
            self.fail(InputError("recipe", f"servers.{self.name}.patience", found=found, expected=expected))
            return
        if (waited := now - call.since) >= patience and call.refusals:
            call.done([Reply(error=f"still throttled after {waited:.0f} s of waiting: {error}")])
            return
        call.refusals += 1
        backoff = min(_LONGEST, _FIRST * 2 ** min(call.refusals - 1, 8)) * random.uniform(0.5, 1.5)
        self._delayed(min(backoff if error.seconds is None else error.seconds, max(patience, 1.0)), call, None)

    def heard(self) -> None:
        """A server has said something else than 429."""
        self._refusing = 0.0

    def again(self, call: Call, station: Station, detail: str) -> None:
        """Try a call once more, at another server if there is one, unless it has been tried often enough."""
        call.attempts += 1
        if call.attempts >= self.settings.attempts:
            call.done([Reply(error=f"{detail} (tried {call.attempts} times)")])
            return
        self._delayed(min(_LONGEST, _FIRST * 2 ** (call.attempts - 1)) * random.uniform(0.5, 1.5), call, station)

    def denied(self, call: Call, station: Station, detail: str) -> None:
        """Count what sounds as if it were meant for every call; end everything when nothing else is heard."""
        self.denials += 1
        if self.denials >= _DENIALS:
            expected = f"servers that know this model, and the key that servers.{self.name}.key names"
            self.fail(InputError("recipe", f"servers.{self.name}", found=f"{station.url}: {detail}", expected=expected))
        else:
            self.again(call, station, detail)

    def lost(self, station: Station, detail: str) -> None:
        """A server cannot be reached: its calls go to the others, and somebody looks whether it comes back."""
        if station.up:
            station.up = False
            self._up_at = asyncio.get_running_loop().time()
            _log.info("%-12s %s does not answer; waiting up to %g s if it is the last", self.name, station.url, self.settings.patience)
            self.spawn(self._watch(station, detail))
        self._hand_over()

    async def _watch(self, station: Station, detail: str) -> None:
        clock, pause = asyncio.get_running_loop().time, _LOOK
        while not await self._revive(station):
            dark = clock() - self._up_at  # seconds since one of them was up
            if not any(other.up for other in self.stations) and dark >= self.settings.patience:
                found = f"no server that answers for {dark:.0f} s ({detail})"
                where = f"servers.{self.name}.urls"
                raise InputError("recipe", where, found=found, expected="a server that runs; the same command goes on from here")
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 1.5)
        station.up = True
        _log.info("%-12s %s answers again", self.name, station.url)
        self._hand_over()  # of servers that are still down; calls that belong here and wait elsewhere stay where they are
        for other in self.stations:
            other.pump()

    def _hand_over(self) -> None:
        """Nothing waits for a server that is down while another is up."""
        if any(station.up for station in self.stations):
            down = [station for station in self.stations if not station.up]
            orphans = [call for station in down for call in station.queue]
            for station in down:
                station.queue.clear()
            self.submit(orphans)

    def close(self) -> None:
        """Stop everything."""
        for task in self._tasks:
            task.cancel()

    def _delayed(self, seconds: float, call: Call, avoid: Station | None) -> None:
        asyncio.get_running_loop().call_later(seconds, self._back, call, avoid)

    def _back(self, call: Call, avoid: Station | None) -> None:
        if call.wanted():
            station = self._home(call, avoid)
            station.queue.appendleft(call)  # it has waited longer than what stands there
            station.pump()

    def _home(self, call: Call, avoid: Station | None = None) -> Station:
        if len(self.stations) == 1:
            return self.stations[0]
        ranked = sorted(self.stations, key=lambda station: _rank(call.group, station.url))
        up = [station for station in ranked if station.up] or ranked
        return next((station for station in up if station is not avoid), up[0])


def _rank(group: str, url: str) -> bytes:
    return hashlib.blake2b(f"{url}\0{group}".encode("utf-8", "replace"), digest_size=8).digest()


def _per_minute(amount: int | None) -> AsyncLimiter | None:
    """A leaky bucket with the allowance of one second in it: a cap per minute must not become a burst each minute."""
    return None if amount is None else AsyncLimiter(max(1.0, amount / 60), max(1.0, amount / 60) * 60 / amount)
