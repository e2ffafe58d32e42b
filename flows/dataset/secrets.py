"""Keys and passwords in the texts of a dataset: found before they are published, and never printed.

find(store, ["prompts/part-00000.parquet"])  ->  [Leak("prompts/part-00000.parquet", row=17, column="text", kind="GitHub token", …)]

The patterns are the published forms of keys that have one, private keys in PEM form, and passwords inside URLs; a key without a form of its
own looks like any other word and is not found. Examples as documentation prints them (…EXAMPLE, a password called password) are none.
Tables are read batch by batch, every text in every column, and what is nested is taken out first.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.flows.dataset.store import Store

KINDS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Hugging Face token": r"\bhf_[A-Za-z]{30,}\b",
    "Anthropic or OpenAI key": r"\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,}",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "PyPI token": r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "SendGrid key": r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in a URL": r"(?i)\b[a-z][a-z0-9+.-]{1,15}://[^\s/:@]{0,64}:[^\s/:@]{3,128}@[a-z0-9.-]",
}
# Every one of them holds one of these, which is quick to see.
MARKS = ["PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "sk-", "AIza", "xox"]
MARKS += ["k_live_", "pypi-AgE", "npm_", "SG.", "eyJ", "://"]
_EXAMPLE = re.compile(r"example|:(?:password|passwd|pass|secret|\*+|<[^>]*>|\$?\{[^}]*\})@", re.IGNORECASE)
BATCH = 65_536  # rows


@dataclass(frozen=True)
class Leak:
    """Where something looks like a secret. Row counts from 1 (0: `column` is a key's path); `row_id` is the row's own id, if it has one."""

    file: str
    row: int
    column: str
    kind: str
    row_id: str

    def __str__(self) -> str:
        named = f" ({self.row_id})" if self.row_id else ""
        if not self.row:
            return f"{self.kind} in {self.file}, {self.column.lstrip('.')}"
        return f"{self.kind} in {self.file}, row {self.row}{named}, column {self.column}"


def find(store: Store, names: Sequence[str]) -> Iterator[Leak]:
    """Every secret in the files, one a row and column; a file that is no table is read line by line."""
    for name in names:
        yield from _in_table(store, name) if name.endswith(".parquet") else in_text(name, store.read(name).decode("utf-8", "replace"))


def in_text(name: str, text: str) -> Iterator[Leak]:
    """The same in a text, line by line."""
    for number, line in enumerate(text.splitlines(), start=1):
        if kind := kind_of(line):
            yield Leak(name, number, "text", kind, "")


def in_values(name: str, node: Any, place: str = "") -> Iterator[Leak]:
    """The same in what YAML or JSON says, by the key: in a file a newline before a secret is a letter."""
    if isinstance(node, str) and (kind := kind_of(node)):
        yield Leak(name, 0, place, kind, "")
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from in_values(name, item, f"{place}.{number}")
    elif isinstance(node, dict):
        for number, (key, item) in enumerate(node.items()):
            yield from in_values(name, key, f"{place}.{number}")
            yield from in_values(name, item, f"{place}.{number if kind_of(key) else key}")


def kind_of(text: str) -> str:
    """What kind of secret a text holds, "" for none."""
    for kind, pattern in KINDS.items():
        if any(not _EXAMPLE.search(found[0]) for found in re.finditer(pattern, text)):
            return kind
    return ""


def _in_table(store: Store, name: str) -> Iterator[Leak]:
    with store.open(name) as file:
        table, start = pq.ParquetFile(file), 0
        key = next((column for column in table.schema_arrow.names if column.endswith("_id")), None)
        for batch in table.iter_batches(BATCH):
            for column in batch.schema.names:
                rows, texts = _texts(batch.column(column))
                frame = pl.DataFrame({"row": rows, "text": texts}, schema={"row": pl.Int64, "text": pl.String})
                seen = set()
                for row, text in frame.filter(pl.col("text").str.contains_any(MARKS)).iter_rows():
                    if row not in seen and (kind := kind_of(text)):
                        seen.add(row)
                        yield Leak(name, start + row + 1, column, kind, str(batch.column(key)[row]) if key else "")
            start += batch.num_rows


def _texts(values: pa.Array, rows: pa.Array | None = None) -> tuple[pa.Array, pa.Array]:
    """(row, text) of every text in a column, however deep it lies."""
    rows = pa.array(range(len(values)), pa.int64()) if rows is None else rows
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return rows, values.cast(pa.large_string())
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _texts(values.flatten(), rows.take(pa.compute.list_parent_indices(values)))
    if pa.types.is_struct(values.type):
        parts = [_texts(part, rows) for part in values.flatten()]
        return pa.concat_arrays([part[0] for part in parts]), pa.concat_arrays([part[1] for part in parts])
    return pa.array([], pa.int64()), pa.array([], pa.large_string())
