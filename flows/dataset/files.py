"""How many rows a file of a dataset has, whatever its kind: Parquet tables, and what exports write beside them.

rows(store, "labels/part-00000.parquet")  ->  5021            rows(store, "exports/fedbiscuit/shp_cmpr_train.jsonl")  ->  18211
"""

import csv
import io

import pyarrow as pa

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store

BLOCK = 1 << 20  # bytes read at a time


def rows(store: Store, name: str) -> int:
    """Rows of a Parquet, Arrow, CSV (without its header) or JSON-lines file; 0 of any other."""
    suffix = name.rpartition(".")[2]
    if suffix == "parquet":
        return tables.rows(store, name)
    if suffix not in ("arrow", "csv", "jsonl"):
        return 0
    with store.open(name) as file:
        if suffix == "arrow":
            return sum(batch.num_rows for batch in pa.ipc.open_stream(file))
        if suffix == "jsonl":
            return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
        csv.field_size_limit(2**31 - 1)  # an answer may be longer than the 131,072 characters that Python's reader takes by default
        return sum(1 for _ in csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))) - 1
