"""A finished dataset with vectors that a test has chosen, and with rows that its filters are said to have left out.

store = vectored(run, {"diversity": {}}, {prompt_id: [1.0, 0.0, …]})
leave_out(store, "prompts", "near_duplicate", [(row, "9f0c…", "cosine 0.9640 (m), threshold 0.85")])
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.similarity import IDS
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import RECORDS
from prefloom.schemas.embedding import Embedding
from prefloom.schemas.label import Rejected

WIDTH = 16
LOCAL = {"engine": "sentence-transformers"}


def vectored(run: Path, sections: dict[str, Any] | None = None, given: dict[str, Sequence[float]] | None = None) -> Store:
    """The run with an `embeddings` table: random vectors, but for those `given` by id; `sections` go into the manifest's recipe."""
    store = Store(str(run))
    for part in range(2):  # two files, as of two shards
        rows = []
        for table, key in IDS.items():
            ids = tables.read(store, f"{table}/part-*.parquet", RECORDS[table], [key])[key].to_list()
            rows += [(table, row_id, "", _vector(row_id, given or {})) for row_id in ids if int(row_id, 16) % 2 == part]
        frame = pl.DataFrame(
            rows, {"table": pl.String, "row_id": pl.String, "text_key": pl.String, "vector": pl.List(pl.Float16)}, orient="row"
        )
        tables.write(store, f"embeddings/part-{part:05d}.parquet", Embedding, frame)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["models"]["embeddings"] = "sentence-transformers/all-MiniLM-L6-v2@0123"
    manifest["recipe"] |= {"embeddings": LOCAL} | (sections or {})
    (run / "manifest.json").write_text(json.dumps(manifest))
    return store


def leave_out(store: Store, stage: str, reason: str, rows: list[tuple[dict[str, Any], str | None, str]]) -> None:
    """Put (row, duplicate_of, detail) into rejected/ and count them in the manifest."""
    gone = [
        Rejected(stage=stage, kind="check", reason=reason, row_id=row[IDS[stage]], duplicate_of=of, detail=detail, row=json.dumps(row))
        for row, of, detail in rows
    ]
    tables.write(store, f"rejected/{stage}-{len(store.list('rejected/*')) + 100:05d}.parquet", Rejected, tables.frame(Rejected, gone))
    path = Path(store.root) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["stages"][stage]["rejected"][f"check/{reason}"] = len(gone)
    manifest["stages"][stage]["considered"] += len(gone)
    path.write_text(json.dumps(manifest))


def _vector(row_id: str, given: dict[str, Sequence[float]]) -> list[float]:
    if row_id in given:
        return [float(value) for value in given[row_id]]
    return list(np.random.default_rng(int(row_id, 16)).normal(size=WIDTH))
