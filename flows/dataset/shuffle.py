"""Rows that are made in pieces of one kind and read in pieces of another: a file for each piece made, in it a batch for each piece read.

    write(store, "labels/shuffle-00003.arrow", frame, place, parts=32, made_of="5e1f…")     # place: the part that each row goes to
    read(store, ["labels/shuffle-00000.arrow", …], part=7, columns=["margin"])              # the rows of part 7 out of every file

One file is open at a time, and memory holds one piece; there are (pieces made) x (pieces read) batches. The files are scratch in Arrow's
own format: no part of the dataset, and made again if they are lost.
"""

from collections.abc import Iterable, Sequence
from typing import IO

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset.store import Store

_MADE_OF = b"prefloom.stage_hash"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def write(store: Store, name: str, data: pl.DataFrame, place: pl.Series, parts: int, made_of: str) -> None:
    """Publish the rows, those of part 0 first; within a part they keep their order."""
    ordered = data.with_columns(place.alias("_place")).sort("_place", maintain_order=True)
    counts = dict(ordered.group_by("_place").len().iter_rows())
    table = ordered.drop("_place").to_arrow().replace_schema_metadata({_MADE_OF: made_of})
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)

    def fill(file: IO[bytes]) -> None:
        begin = 0
        with pa.ipc.new_file(file, batch.schema, options=_OPTIONS) as out:
            for part in range(parts):
                out.write_batch(batch.slice(begin, counts.get(part, 0)))
                begin += counts.get(part, 0)

    store.publish(name, fill)


def read(store: Store, names: Iterable[str], part: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of one part out of every file, in the order of the names; at least one file."""
    found = []
    for name in names:
        with store.open(name) as file:
            reader = pa.ipc.open_file(file)
            if columns is not None:
                fields = sorted(reader.schema.get_field_index(column) for column in columns)
                reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))
            found.append(pl.DataFrame(pa.Table.from_batches([reader.get_batch(part)])))
    return pl.concat(found)


def is_made_of(store: Store, name: str, made_of: str) -> bool:
    """Whether the file is there, and was made for the stage of this hash."""
    if not store.exists(name):
        return False
    try:
        with store.open(name) as file:
            return bool((pa.ipc.open_file(file).schema.metadata or {}).get(_MADE_OF) == made_of.encode())
    except (pa.ArrowException, OSError):
        return False
