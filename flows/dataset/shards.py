"""One shard of one stage: the unit of work that a Prefect task runs, and that a kill can cost.

    job = ShardJob(folder="data/runs/demo-3b9c…", stage="labels", index=0, stage_hash="…")
    job.done()                                                     # ShardReport of an earlier, finished attempt, or None
    job.write(Label, frame, rejected, considered=5000)  ->  ShardReport

The rejected rows are published first and the part last, so a part that exists (with this stage hash in its footer) is a finished shard.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import polars as pl
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.progress import Notes, ShardProgress
from prefloom.flows.dataset.run import Run
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Rejected
from prefloom.schemas.record import Record
from prefloom.schemas.usage import Usages, total


@dataclass(frozen=True)
class ShardReport:
    """What a shard did. Accounting and usage are stored with the part; what was paid, and when, is of this attempt alone."""

    considered: int
    kept: int
    rejected: dict[str, int]
    usage: Usages = field(default_factory=dict)  # the calls its rows stand on, whoever paid for them: the same in every attempt
    paid: Usages = field(default_factory=dict)  # those of them that this attempt made
    asked: int = 0
    from_journal: int = 0
    started: float = 0.0
    ended: float = 0.0


_ACCOUNTING = TypeAdapter(ShardReport)


def accounting(footer: Mapping[str, str]) -> ShardReport | None:
    """The accounting and usage that a part carries in its footer; None for a file that carries none or that is damaged."""
    try:
        return _ACCOUNTING.validate_json(footer["prefloom.accounting"])
    except (KeyError, ValidationError):
        return None


@dataclass(frozen=True)
class ShardJob:
    """Which shard to make, by paths and numbers alone."""

    folder: str
    stage: str
    index: int
    stage_hash: str
    retry_failed: bool = False
    only: str | None = None  # the one model to ask, ahead of the shard itself: it is served now, others will be later

    @cached_property
    def run(self) -> Run:
        """The run this shard belongs to."""
        return Run(self.folder)

    def part(self, stage: str | None = None) -> str:
        """Name of this shard's part, or of the part with the same index of an earlier stage."""
        return f"{stage or self.stage}/part-{self.index:05d}.parquet"

    def beside(self) -> str:
        """Name of the file of its rejected rows."""
        return f"rejected/{self.stage}-{self.index:05d}.parquet"

    def footer(self, name: str) -> dict[str, str]:
        """Metadata of every file of the stage: what it was made of, and which file it is."""
        return {"prefloom.stage_hash": self.stage_hash, "prefloom.file": name}

    def done(self) -> ShardReport | None:
        """The report of a finished attempt with the same stage hash, or None. Its rejected rows must be there too."""
        store, name = self.run.store, self.part()
        if not store.exists(name) or (metadata := tables.metadata(store, name)).get("prefloom.stage_hash") != self.stage_hash:
            return None
        report = accounting(metadata)
        if report is None or (report.rejected and not store.exists(self.beside())):
            return None
        self.note(report)
        return report

    @cached_property
    def notes(self) -> Notes:
        """Where this shard tells how far it is."""
        return Notes(self.run.store, self.stage, self.index)

    def note(self, report: ShardReport) -> None:
        """Tell that the shard is done, and what it paid."""
        rejected = sum(report.rejected.values())
        self.notes.write(ShardProgress(report.considered, report.considered, report.kept, rejected, paid=report.paid), last=True)

    def write(
        self,
        record: type[Record],
        data: pl.DataFrame,
        rejected: pl.DataFrame,
        considered: int,
        kept: int | None = None,
        usage: Usages | None = None,
    ) -> ShardReport:
        """Publish the shard, rows in the given order. `kept` differs from the row count where the unit is not the row."""
        counts = rejected.group_by("kind", "reason").len().sort("kind", "reason")
        reasons = {f"{kind}/{reason}": n for kind, reason, n in counts.iter_rows()}
        report = ShardReport(considered, data.height if kept is None else kept, reasons, usage or {})
        footer = _ACCOUNTING.dump_json(report, include={"considered", "kept", "rejected", "usage"}).decode()
        store, part, beside = self.run.store, self.part(), self.beside()
        if rejected.height:
            tables.write(store, beside, Rejected, rejected, self.footer(beside))
        else:
            store.remove(beside)  # a killed attempt may have rejected what has been answered since
        tables.write(store, part, record, data, self.footer(part) | {"prefloom.accounting": footer})
        self.note(report)
        return report

    def publish(self, name: str, record: type[Record], groups: Iterable[pl.DataFrame]) -> int:
        """Publish a file of the stage, a row group for each frame with rows, and say how many rows it has. Without any there is no file."""
        some = (group for group in groups if group.height)
        first, rows = next(some, None), 0
        if first is None:
            self.run.store.remove(name)
            return 0

        def counted() -> Iterator[pa.Table]:
            nonlocal rows
            for group in chain([first], some):
                rows += group.height
                yield tables.to_arrow(record, group)

        tables.write_groups(self.run.store, name, record.arrow_schema(), counted(), self.footer(name))
        return rows

    def at(self, index: int) -> "ShardJob":
        """The same job for another shard."""
        return replace(self, index=index)

    def write_parts(
        self, record: type[Record], data: pl.DataFrame, rejected: pl.DataFrame, parts: int, usage: Usages | None = None
    ) -> ShardReport:
        """Publish a whole stage from one task: rows go to parts by hash of prompt_id, rejected rows and the usage to the first."""
        place = pl.Series(shard_of(data["prompt_id"], parts))
        reports = []
        for index in range(parts):
            mine, refused = data.filter(place == index), rejected if index == 0 else rejected.clear()
            used = usage if index == 0 else None
            reports.append(self.at(index).write(record, mine, refused, considered=mine.height + refused.height, usage=used))
        return merge(reports)

    def done_parts(self, parts: int) -> ShardReport | None:
        """`done` for a stage whose parts are all written by one task."""
        reports = [self.at(index).done() for index in range(parts)]
        whole = [report for report in reports if report is not None]
        return merge(whole) if len(whole) == parts else None


def with_calls_ahead(ahead: Sequence[ShardReport], report: ShardReport) -> ShardReport:
    """The report of a stage some of whose calls were made ahead of it, so that it found them in the journal."""
    if not ahead:
        return report
    early = merge(ahead)
    return replace(
        report,
        paid=total([early.paid, report.paid]),
        asked=early.asked + report.asked,
        from_journal=max(0, report.from_journal - early.asked),
        started=early.started,
    )


def in_rounds(earlier: ShardReport | None, report: ShardReport) -> ShardReport:
    """The report of a stage that was made before in this build, with all it paid and all the time it took, as if in one go."""
    if earlier is None:
        return report
    took = earlier.ended - earlier.started
    return replace(with_calls_ahead([earlier], report), started=report.started - took)


def merge(reports: Sequence[ShardReport]) -> ShardReport:
    """The sum of shard reports, over the time from the first start to the last end."""
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    return ShardReport(
        considered=sum(r.considered for r in reports),
        kept=sum(r.kept for r in reports),
        rejected=dict(sorted(rejected.items())),
        usage=total(r.usage for r in reports),
        paid=total(r.paid for r in reports),
        asked=sum(r.asked for r in reports),
        from_journal=sum(r.from_journal for r in reports),
        started=min((r.started for r in reports), default=0.0),
        ended=max((r.ended for r in reports), default=0.0),
    )
