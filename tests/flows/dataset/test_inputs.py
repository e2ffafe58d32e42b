"""Rows of the user's own files, and what is said when they are not as promised."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefloom.flows.dataset.inputs import rows
from prefloom.schemas.errors import InputError


def write(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def test_three_formats_give_the_same_rows(tmp_path: Path) -> None:
    table = [{"id": "1", "text": 'a "b",\nü'}, {"id": "2", "text": ""}]
    jsonl = write(tmp_path, "a.jsonl", "\n\n".join(json.dumps(row) for row in table).encode())
    csv = write(tmp_path, "a.csv", 'id,text,more\r\n1,"a ""b"",\nü",x\r\n2,,y\r\n'.encode())
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    for path in (jsonl, csv, tmp_path / "a.parquet"):
        assert [row for _, row in rows(path, ["id", "text"])] == table
    assert [place for place, _ in rows(jsonl, ["id"])] == ["line 1", "line 3"]


def test_numbers_become_text_and_null_stays(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"id": 7, "text": null}')
    assert list(rows(path, ["id", "text"])) == [("line 1", {"id": "7", "text": None})]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"x", "the ending '.txt'"),
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b', "line 2: found no valid JSON"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1: found no valid JSON"),
        ("a.jsonl", b'["text"]', "line 1: found a JSON list"),
        ("a.jsonl", b'{"txet": "a"}', "line 1: found no column 'text'; did you mean 'txet'"),
        ("a.jsonl", b'{"text": ["a"]}', "line 1, column 'text': found a list"),
        ("a.csv", b"text\n\xff\xfe\n", "UTF-8"),
        ("a.csv", b"txt\nx\n", "header: found no column 'text'"),
        ("a.parquet", b"PAR1 not really", "a.parquet"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        list(rows(write(tmp_path, name, content), ["text"]))
    assert words in str(caught.value)
