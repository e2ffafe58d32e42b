"""What a person sees while a build runs: one live table on a terminal, now and then a line elsewhere, nothing with --json.

                                            kept   rejected      rate   in flight   left    tokens   spent
    judgements    ━━━━━━━━━╸━━━━━━   54%  42,113        160   8,912/s         256   0:04    19.1 M   $2.91

Everything is read from the run folder (stage entries, the shards' notes, run.json), so that it does not matter who does the work: this
process, its threads, or workers elsewhere on the same file system. `prefloom watch RUN` shows the same for a build started by someone else.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prefloom.flows.dataset import executions, progress, stages
from prefloom.flows.dataset.lock import is_held
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardReport
from prefloom.flows.engines.asking import STOPPING
from prefloom.schemas.recipe import Price
from prefloom.schemas.texts import visible
from prefloom.schemas.usage import Usages, compact, money, spend, tokens, total

WINDOW = 10.0  # seconds over which a rate is taken
HEARTBEAT = 30.0  # seconds between two lines where there is no terminal
FIGURES = {"kept": 0, "rejected": 60, "rate": 70, "in flight": 90, "left": 0, "tokens": 80, "spent": 50}  # shown from this many columns on


@dataclass(frozen=True)
class StageProgress:
    """One stage: `state` is waiting, running or done, `share` of its work is between 0 and 1, `expected` units may still be a guess."""

    name: str
    unit: str
    state: str
    share: float = 0.0
    expected: int = 0
    done: int = 0
    kept: int = 0
    rejected: int = 0
    in_flight: int = 0
    paid: Usages | None = None


def snapshot(run: Run) -> list[StageProgress]:
    """Every stage in order. The first unfinished one is running; what comes after it waits, whatever an earlier build has left there."""
    log = executions.read(run.store)
    finished = log[-1].stages if log else {}
    rows: list[StageProgress] = []
    running = False
    for stage in stages.of(run.resolved.recipe):
        entry = None if running else stages.entry(run.store, stage.name)
        if entry:
            paid = finished[stage.name].paid if stage.name in finished else {}
            kept, rejected = entry.kept, sum(entry.rejected.values())
            row = StageProgress(stage.name, stage.unit, "done", 1.0, entry.considered, entry.considered, kept, rejected, paid=paid)
        elif running:
            row = StageProgress(stage.name, stage.unit, "waiting")
        else:
            row, running = _running(run, stage), True
        rows.append(row)
    return rows


def _running(run: Run, stage: stages.Stage) -> StageProgress:
    shards = progress.shards(run.store, stage.name)
    parts = max(stage.parts(run.resolved.recipe), len(shards))
    planned, done = sum(shard.planned for shard in shards), sum(shard.done for shard in shards)
    expected = round(planned * parts / len(shards)) if shards else 0  # shards that have not begun are taken to be as large as the others
    return StageProgress(
        stage.name,
        stage.unit,
        "running",
        share=min(1.0, done / expected) if expected else 0.0,
        expected=expected,
        done=done,
        kept=sum(shard.kept for shard in shards),
        rejected=sum(shard.rejected for shard in shards),
        in_flight=sum(shard.in_flight for shard in shards),
        paid=total(shard.paid for shard in shards),
    )


class Display:
    """Turns snapshots into a table or a line; remembers enough of them to know the rate."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._since = time.monotonic()
        self._seen: deque[tuple[float, str, int]] = deque()
        self._status, self._under_way = "", False
        self.pace = 4.0 if run.store.local else 0.2  # looks a second: each takes some requests where the store is not on this machine

    def say(self, status: str) -> None:
        """What is going on before the first stage: above the table, or as a line of its own."""
        self._status = status
        logging.getLogger("prefloom").info("%s", status)

    def ended(self) -> str:
        """How the last execution of this run ended, or nothing while a living process works on it."""
        if is_held(self._run.url):
            return ""
        log = executions.read(self._run.store)
        if not log:
            return "no build has begun"
        status = "killed" if log[-1].status == "running" else log[-1].status
        return f"{status}; begun {log[-1].started}" + (f", ended {log[-1].ended}" if log[-1].ended else "")

    def observe(self, now: float) -> list[StageProgress]:
        """A new snapshot, taken at `now` (seconds of any monotonic clock)."""
        rows = snapshot(self._run)
        for row in rows:
            if row.state == "running":
                self._seen.append((now, row.name, row.done))
        while self._seen and (self._seen[0][0] < now - WINDOW or self._seen[0][1] != self._seen[-1][1]):
            self._seen.popleft()
        return rows

    def rate(self) -> float:
        """Units of the running stage in a second, over the last few seconds; 0 while that is not known."""
        if len(self._seen) < 2 or self._seen[-1][0] == self._seen[0][0]:
            return 0.0
        (then, _, before), (now, _, done) = self._seen[0], self._seen[-1]
        return max(0.0, (done - before) / (now - then))

    def _figures(self, row: StageProgress) -> dict[str, str]:
        """What is known of a stage, by the name of the figure, in words."""
        if row.state == "waiting":
            return {}
        paid, rate = row.paid or {}, self.rate() if row.state == "running" else 0.0
        cost = spend(paid, self._run.resolved.recipe.prices) if paid else None
        left = (row.expected - row.done) / rate if rate else 0
        return {
            "kept": f"{row.kept:,}",
            "rejected": f"{row.rejected:,}",
            "rate": f"{rate:,.0f}/s" if rate else "",
            "in flight": f"{row.in_flight:,}" if row.in_flight else "",
            "left": _clock(left) if left > 0 else "",
            "tokens": compact(tokens(paid)) if tokens(paid) else "",
            "spent": money(cost) if cost is not None else "",
        }

    def table(self, width: int = 100) -> RenderableType:
        """The live table, without its bars and its less telling columns where the terminal is narrow."""
        names = [name for name, needs in FIGURES.items() if width >= needs]
        now = time.monotonic()
        rows = self.observe(now)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row("", "", "", *(Text(name, "dim") for name in names))
        grid.columns[0].no_wrap, grid.columns[0].min_width = True, 11
        for column in grid.columns[2:]:
            column.justify, column.no_wrap = "right", True
        for row in rows:
            figures, style = self._figures(row), {"waiting": "dim", "running": "bold"}.get(row.state, "")
            share = f"{row.share:.0%}" if row.state == "running" and row.expected else ""
            bar = ProgressBar(total=1.0, completed=row.share, width=16) if width >= 100 else ""
            grid.add_row(Text(row.name, style), bar, share, *(figures.get(name, "") for name in names))
        self._under_way = self._under_way or any(row.state == "running" and row.expected for row in rows)
        head = self._run.url if self._under_way or not self._status else self._status
        if STOPPING.is_set():
            head += ": interrupted, waiting for the calls in flight"
        elif self._under_way and all(row.state == "done" for row in rows) and not self.ended():
            head += ": manifest and report"
        return Group(Text(f"{visible(head)}  {_clock(now - self._since)}", "dim"), grid)

    def summary(self) -> str:
        """How far the run is and how its last execution ended, in one line."""
        rows = [row for row in snapshot(self._run) if row.state != "waiting" and row.done]
        last = f": {rows[-1].kept:,} {rows[-1].unit}s kept in {rows[-1].name}" if rows else ""
        return f"{self._run.url}{last}; last build: {self.ended()}"

    def line(self) -> str:
        """The running stage in one line, or nothing while none is."""
        running = [row for row in self.observe(time.monotonic()) if row.state == "running"]
        if not running or not running[0].expected:
            return ""
        row = running[0]
        figures = ", ".join(f"{name} {figure}" for name, figure in self._figures(row).items() if figure)
        return f"{row.name:<12} {row.share:.0%}: {row.done:,} of about {row.expected:,} {row.unit}s, {figures}"


class _Inert(logging.Formatter):
    """Lines in which nothing can move a cursor, whatever an engine or a file put into them."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


@contextmanager
def shown(display: Display, silent: bool) -> Iterator[Display]:
    """Show the display while the block runs, in the way that suits standard error; not at all if `silent`."""
    logger = logging.getLogger("prefloom")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    terminal = sys.stderr.isatty()
    handler = logging.NullHandler() if silent or terminal else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Inert("  %(message)s"))
    logger.addHandler(handler)
    try:
        with nullcontext() if silent else _live(display) if terminal else _heartbeat(display):
            yield display
    finally:
        logger.removeHandler(handler)


@contextmanager
def _live(display: Display) -> Iterator[None]:
    console = Console(stderr=True, highlight=False)
    with Live(get_renderable=lambda: display.table(console.width), console=console, refresh_per_second=display.pace):
        yield


@contextmanager
def _heartbeat(display: Display) -> Iterator[None]:
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            if line := display.line():
                logging.getLogger("prefloom").info("%s", line)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def follow(display: Display) -> None:
    """Show a build that runs elsewhere until it ends, and say how it ended."""
    if not display.ended():
        with shown(display, silent=False):
            while not display.ended():
                time.sleep(max(0.5, 1 / display.pace))
    sys.stderr.write(f"{visible(display.summary())}\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def describe(report: ShardReport, unit: str, prices: Mapping[str, Price] | None = None) -> str:
    """`38,995 labels kept, 305 rejected (305 unread), 0.5 s`; with model calls also `asked 78,596, 0 from the journal, 35.4 M tokens`."""
    rejected = sum(report.rejected.values())
    reasons = ", ".join(f"{n:,} {reason.split('/')[1]}" for reason, n in sorted(report.rejected.items(), key=lambda item: -item[1]))
    text = f"{report.kept:,} {unit}s kept" + (f", {rejected:,} rejected ({reasons})" if rejected else "")
    if report.asked or report.from_journal:
        text += f", asked {report.asked:,}, {report.from_journal:,} from the journal, {compact(tokens(report.paid))} tokens"
    if (cost := spend(report.paid, prices or {})) is not None:
        text += f", {money(cost)}"
    return f"{text}, {report.ended - report.started:.1f} s"


def tabulate(report: ShardReport, prices: Mapping[str, Price]) -> list[dict[str, str]]:
    """The report as rows for Prefect's page."""
    cost = spend(report.paid, prices)
    rows = {"considered": f"{report.considered:,}", "kept": f"{report.kept:,}"}
    rows |= {reason.replace("/", ": ").replace("_", " "): f"{count:,}" for reason, count in report.rejected.items()}
    if report.asked or report.from_journal:
        rows |= {"asked": f"{report.asked:,}", "from the journal": f"{report.from_journal:,}", "tokens": f"{tokens(report.paid):,}"}
    rows |= {"spent": money(cost)} if cost is not None else {}
    rows |= {"seconds": f"{report.ended - report.started:.1f}"}
    return [{"what": name, "count": value} for name, value in rows.items()]
