"""Records to Parquet and back: polars computes, pyarrow writes, the record's Arrow schema decides.

    write(store, "labels/part-00000.parquet", Label, frame, {"prefloom.stage_hash": "…"})
    read(store, "labels/part-*.parquet", Label)          ->  polars.DataFrame with the record's columns
    read(store, "labels/part-*.parquet", Label, ["margin"])

Same rows, same bytes: the settings below are fixed, and rows come sorted from their stage.
"""

import io
from collections.abc import Iterable, Sequence
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.flows.dataset import objects
from prefloom.flows.dataset.store import Store
from prefloom.schemas.record import Record

# Hugging Face calls a file optimised if it has content-defined chunks and a page index. The dictionary limit is large because
# the same answer stands in many rows of a text view: with the default of 1 MB such a table is several times larger.
_SETTINGS = {
    "compression": "zstd",
    "compression_level": 3,
    "use_content_defined_chunking": True,
    "write_page_index": True,
    "dictionary_pagesize_limit": 64 << 20,
}
pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it has freed; one shard after the other is read and let go
ROW_GROUP = 131_072  # rows, or fewer where they are long
GROUP_BYTES = 128 << 20  # of a row group before it is encoded: the Hub's viewer refuses those above 286 MB


def frame(record: type[Record], rows: Sequence[Record]) -> pl.DataFrame:
    """Rows as a data frame with the record's columns, also when there are none."""
    return pl.DataFrame([row.model_dump() for row in rows], schema=_empty(record).schema)


def to_arrow(record: type[Record], data: pl.DataFrame) -> pa.Table:
    """Cast to the record's Arrow schema; ValueError if a column that must not be null holds one."""
    schema = record.arrow_schema()
    return data.select(schema.names).to_arrow().cast(schema)


def write(store: Store, name: str, record: type[Record], data: pl.DataFrame, metadata: dict[str, str] | None = None) -> None:
    """Publish a table with key-value metadata beside the record's schema."""
    store.publish(name, lambda file: _write(file, record, data, metadata))


def write_groups(store: Store, name: str, schema: pa.Schema, groups: Iterable[pa.Table], metadata: dict[str, str] | None = None) -> None:
    """Publish a table whose row groups come one after the other, of which one is in memory at a time."""

    def fill(file: IO[bytes]) -> None:
        with pq.ParquetWriter(file, schema.with_metadata(metadata or None), **_SETTINGS) as writer:
            for group in groups:
                writer.write_table(group.replace_schema_metadata(metadata or None), row_group_size=ROW_GROUP)

    store.publish(name, fill)


def size(record: type[Record], data: pl.DataFrame, metadata: dict[str, str] | None = None) -> int:
    """Bytes of the file that `write` would publish."""
    file = io.BytesIO()
    _write(file, record, data, metadata)
    return file.tell()


def _write(file: IO[bytes], record: type[Record], data: pl.DataFrame, metadata: dict[str, str] | None) -> None:
    table = to_arrow(record, data).replace_schema_metadata(metadata or None)
    pq.write_table(table, file, row_group_size=row_group(table.nbytes, table.num_rows), **_SETTINGS)


def row_group(size: int, rows: int) -> int:
    """Rows of a row group of a table with so many bytes and rows."""
    return max(1, min(ROW_GROUP, GROUP_BYTES * rows // max(size, 1)))


def read(store: Store, pattern: str, record: type[Record], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All rows of the files that match, in the order of their names; an empty frame if none does."""
    names = store.list(pattern)
    schema = record.arrow_schema()
    wanted = list(columns or schema.names)
    if not names:
        return _empty(record).select(wanted)
    return pl.concat([_read(store, name, wanted) for name in names]).select(wanted)


def _read(store: Store, name: str, wanted: list[str]) -> pl.DataFrame:
    if store.local:
        return _to_polars(pq.read_table(store.path(name), columns=wanted, filesystem=store.fs))
    with store.open(name) as file, objects.asked(f"{store.url}/{name}"):  # column by column, by ranges
        return _to_polars(pq.read_table(file, columns=wanted))


def read_where(store: Store, pattern: str, record: type[Record], columns: Sequence[str], where: pl.Expr) -> pl.DataFrame:
    """The rows for which `where` holds, a file at a time, so that memory holds what is wanted and one file."""
    parts = [read(store, name, record, columns).filter(where) for name in store.list(pattern)]
    return pl.concat(parts) if parts else _empty(record).select(columns)


def metadata(store: Store, name: str) -> dict[str, str]:
    """Key-value metadata of a Parquet file's footer; empty for a damaged file, which is then made again like one of another stage."""
    try:
        with store.open(name) as file:
            raw = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError):
        return {}
    return {key.decode(): value.decode() for key, value in raw.items() if key.startswith(b"prefloom.")}


def rows(store: Store, name: str) -> int:
    """Number of rows, from the footer."""
    with store.open(name) as file:
        return int(pq.read_metadata(file).num_rows)


def schema(store: Store, name: str) -> pa.Schema:
    """Arrow schema of a Parquet file."""
    with store.open(name) as file:
        return pq.read_schema(file)


def _empty(record: type[Record]) -> pl.DataFrame:
    # Made of no batches: an array from a Python list, even an empty one, makes pyarrow import pandas, a quarter of a second.
    return _to_polars(pa.Table.from_batches([], schema=record.arrow_schema()))


def _to_polars(table: pa.Table) -> pl.DataFrame:
    result = pl.from_arrow(table)
    assert isinstance(result, pl.DataFrame)
    return result
