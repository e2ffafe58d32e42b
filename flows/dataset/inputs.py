"""Rows of the user's own files: .jsonl, .csv or .parquet, one mapping per row. Errors name the file, the line and the field.

for line, row in rows(Path("prompts.jsonl"), ["text", "id"]):
    line  -> "line 1"
    row   -> {"text": "How do I wrap a present neatly?", "id": "30b4"}     every value a string, or None
"""

import codecs
import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.flows.dataset.plain import expect_file
from prefloom.schemas.errors import InputError, nearest

Row = dict[str, str | None]


def rows(path: Path, columns: Sequence[str], sha256: str | None = None) -> Iterator[tuple[str, Row]]:
    """(place, row) for every row, reduced to the named columns; a value may be empty but its column must be there.

    With `sha256` the file must still be the one that was resolved when its last row has been read.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(str(path), found=f"the ending '{path.suffix}'", expected="a .jsonl, .csv or .parquet file")
    expect_file(path)
    empty = True
    for place, raw in readers[path.suffix](path, columns):
        empty = False
        yield place, {column: _text(path, place, column, raw.get(column)) for column in columns}
    if empty:
        raise InputError(str(path), found="no rows", expected="at least one")
    if sha256:
        expect_unchanged(path, sha256)


def numbered(path: Path, columns: Sequence[str], wide: int | None, sha256: str | None = None) -> Iterator[tuple[str, Row]]:
    """The same where a row of the file holds `wide` rows: `{i}` in a column's name counts them from 1, columns without it are shared."""
    if wide is None:
        yield from rows(path, columns, sha256)
        return
    if not any("{i}" in column for column in columns):
        raise InputError(str(path), "fields.wide", found="no column with {i} in its name", expected="such as text: 'response_{i}'")
    counts = range(1, wide + 1)
    named = {column: [column.replace("{i}", str(i)) for i in counts] for column in columns}
    every = list(dict.fromkeys(name for names in named.values() for name in names))
    for place, row in rows(path, every, sha256):
        for i in counts:
            yield f"{place}, answer {i}", {column: row[names[i - 1]] for column, names in named.items()}


def columns(path: Path) -> list[str]:
    """Names of the columns that a file has: of the header, or of the first row of a .jsonl file. Whatever is wrong is left to `rows`."""
    if path.suffix == ".parquet":
        with suppress(pa.ArrowException, OSError):
            return list(pq.read_schema(path).names)
        return []
    with suppress(InputError, OSError):
        reader = _jsonl(path, []) if path.suffix == ".jsonl" else _csv(path, [])
        return list(next(reader, ("", {}))[1])
    return []


def expect_unchanged(path: Path, sha256: str) -> None:
    """InputError if a file that has just been read is not the one that was resolved."""
    if file_sha256(path) != sha256:
        raise InputError(str(path), found="other content than when the build began", expected="a file that does not change; build again")


def file_sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> dict[str, str]:
    """Name relative to the folder -> hash of its content, for every file below it but hidden ones, sorted by name."""
    files = {str(path.relative_to(folder).as_posix()): path for path in folder.rglob("*") if path.is_file()}
    shown = {name: path for name, path in files.items() if not any(part.startswith(".") for part in name.split("/"))}
    return {name: file_sha256(shown[name]) for name in sorted(shown)}


def _expect_columns(path: Path, place: str, columns: Sequence[str], names: Sequence[str]) -> None:
    """Every column must be there, once: of two with one name nobody can say which is meant."""
    for column in columns:
        if column not in names:
            raise InputError(str(path), place, found=f"no column '{column}'", expected=nearest(column, names))
        if names.count(column) > 1:
            raise InputError(str(path), place, found=f"the column '{column}' twice", expected="one of that name")


def _text(path: Path, place: str, column: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not abs(value) < 2**53:
        what = "so large a number is not exact" if math.isfinite(value) else "leave the cell empty if there is none"
        raise InputError(str(path), f"{place}, column '{column}'", found=f"the number {value}", expected=f"text: {what}")
    if isinstance(value, bool | int | float):
        return str(value)
    raise InputError(str(path), f"{place}, column '{column}'", found=f"a {type(value).__name__}", expected="text")


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not text.strip():
                continue
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise InputError(
                    str(path), f"line {number}", found=f"no valid JSON ({error})", expected="one JSON object per line"
                ) from None
            if not isinstance(row, dict):
                raise InputError(str(path), f"line {number}", found=f"a JSON {type(row).__name__}", expected="a JSON object")
            _expect_columns(path, f"line {number}", columns, list(row))
            yield f"line {number}", row


def _csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(1 << 30)
    number = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)  # a quote that is not closed would swallow the rows after it
            header = next(reader, None)
            if header is None:
                return
            if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
                raise InputError(str(path), "header", found=f"cells separated by {other!r}", expected="commas between cells")
            _expect_columns(path, "header", columns, header)
            for cells in reader:
                number = reader.line_num
                if cells and len(cells) != len(header):
                    expected = f"{len(header)}, as many as the header has"
                    raise InputError(str(path), f"line {number}", found=f"{len(cells)} cells", expected=expected)
                if cells:
                    yield f"line {number}", dict(zip(header, cells, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        place = f"after line {number}" if number else ""
        raise InputError(str(path), place, found=str(error), expected="a CSV file in UTF-8 with a header line") from None


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _expect_columns(path, "header", columns, file.schema_arrow.names)
            for batch in file.iter_batches(columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        place = f"after row {number}" if number else ""
        raise InputError(str(path), place, found=str(error).split("\n")[0], expected="a Parquet file") from None
