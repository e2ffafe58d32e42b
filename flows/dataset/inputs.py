"""Rows of the user's own files: .jsonl, .csv or .parquet, one mapping per row. Errors name the file, the line and the field.

for line, row in rows(Path("prompts.jsonl"), ["text", "id"]):
    line  -> "line 1"
    row   -> {"text": "How do I wrap a present neatly?", "id": "30b4"}     every value a string, or None
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.schemas.errors import InputError, nearest

Row = dict[str, str | None]


def rows(path: Path, columns: Sequence[str], sha256: str | None = None) -> Iterator[tuple[str, Row]]:
    """(place, row) for every row, reduced to the named columns; a value may be empty but its column must be there.

    With `sha256` the file must still be the one that was resolved when its last row has been read.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(str(path), found=f"the ending '{path.suffix}'", expected="a .jsonl, .csv or .parquet file")
    empty = True
    for place, raw in readers[path.suffix](path):
        empty = False
        for column in columns:
            if column not in raw:
                header = place if path.suffix == ".jsonl" else "header"
                raise InputError(str(path), header, found=f"no column '{column}'", expected=nearest(column, map(str, raw)))
        yield place, {column: _text(path, place, column, raw.get(column)) for column in columns}
    if empty:
        raise InputError(str(path), found="no rows", expected="at least one")
    if sha256:
        expect_unchanged(path, sha256)


def expect_unchanged(path: Path, sha256: str) -> None:
    """InputError if a file that has just been read is not the one that was resolved."""
    if file_sha256(path) != sha256:
        raise InputError(str(path), found="other content than when the build began", expected="a file that does not change; build again")


def file_sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path, place: str, column: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and abs(value) >= 2**53:
        raise InputError(
            str(path), f"{place}, column '{column}'", found=f"the number {value}", expected="text: so large a number is not exact"
        )
    if isinstance(value, bool | int | float):
        return str(value)
    raise InputError(str(path), f"{place}, column '{column}'", found=f"a {type(value).__name__}", expected="text")


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InputError(
                    str(path), f"line {number}", found=f"no valid JSON ({error})", expected="one JSON object per line"
                ) from None
            if not isinstance(row, dict):
                raise InputError(str(path), f"line {number}", found=f"a JSON {type(row).__name__}", expected="a JSON object")
            yield f"line {number}", row


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(1 << 30)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield f"line {reader.line_num}", {str(k): v for k, v in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), found=str(error), expected="a CSV file in UTF-8 with a header line") from None


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), found=str(error).split("\n")[0], expected="a Parquet file") from None
