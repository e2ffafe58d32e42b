r"""Small questions about texts, asked by more than one stage, and the sieve that keeps the first of each.

latin_share("Привет!")  ->  0.0
is_refusal("I'm sorry, but I can't help with that.")   ->  True
markdown_in("First:\n- boil water")   ->  "- boil water"
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.label import Rejected
from prefloom.schemas.record import Record
from prefloom.schemas.texts import is_blank, normal

_REFUSAL = re.compile(
    r"\s*(?:i['’]?m sorry,? (?:but )?|i apologi[sz]e,? (?:but )?|sorry,? (?:but )?|unfortunately,? )?"
    r"(?:as an ai(?: language model)?,? )?"
    r"i (?:cannot|can['’]?t|can not|am (?:not able|unable) to|['’]?m (?:not able|unable) to|won['’]?t) "
    r"(?:help|assist|provide|answer|comply|fulfil|fulfill|support|do that|create|write|engage|discuss|give)",
    re.IGNORECASE,
)

# Headings, items of lists, quotations, rules, fences, tables, links and what is set in bold, italic or code. A lone asterisk, a dash
# within a line or a hash tag is none.
_MARKDOWN = re.compile(
    r"^ {0,3}(?:#{1,6} +\S|[-*+] +\S|\d{1,3}[.)] +\S|> *\S|```|~~~|(?:[-*_] *){3,}$|\|.*\|).*"
    r"|\*\*[^\s*](?:[^*\n]*[^\s*])?\*\*|(?<!\w)__[^\s_](?:[^_\n]*[^\s_])?__(?!\w)|(?<![\w*])\*[^\s*](?:[^*\n]*[^\s*])?\*(?![\w*])"
    r"|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)",
    re.MULTILINE,
)


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining (an answer that declines later on is not caught)."""
    return _REFUSAL.match(text) is not None


def markdown_in(text: str) -> str | None:
    """What shows Markdown at work first, clipped; None for plain paragraphs."""
    found = _MARKDOWN.search(text)
    return found.group().strip()[:120] if found else None


def latin_share(text: str) -> float:
    """Share of the letters that are Latin; 1 for a text without letters."""
    foreign = {c for c in set(text) if not c.isascii() and c.isalpha() and "LATIN" not in unicodedata.name(c, "")}
    if not foreign:  # every letter of ASCII is Latin
        return 1.0
    letters = sum(c.isalpha() for c in text)
    return sum(c not in foreign for c in text if c.isalpha()) / letters


class Sieve:
    """Keeps the first row of each normal form and rejects empty and repeated ones.

    sieve = Sieve("prompts");  sieve.admit(row, row.prompt_id, row.text)  ->  True, or False with a row of sieve.rejected()
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._rejected: list[Rejected] = []
        self._seen: dict[tuple[str, str], str] = {}

    def admit(self, row: Record, row_id: str, text: str, group: str = "") -> bool:
        """Whether the row is the first of its kind within its group."""
        if is_blank(text):
            return self.reject(row, row_id, "empty", "no text")
        form = normal(text)
        first = self._seen.get((group, form))
        if first is not None:
            return self.reject(row, row_id, "duplicate", "same text up to case and white space", duplicate_of=first)
        self._seen[group, form] = row_id
        return True

    def reject(self, row: Record, row_id: str, reason: str, detail: str, duplicate_of: str | None = None) -> bool:
        """Note a rejected row with its content; always False."""
        self._rejected.append(
            Rejected(
                stage=self.stage,
                kind="check",
                reason=reason,
                row_id=row_id,
                duplicate_of=duplicate_of,
                detail=detail,
                row=row.model_dump_json(),
            )
        )
        return False

    def fail(self, row_id: str, reason: str, detail: str) -> None:
        """Note a row that was never had, because a call failed."""
        failed = Rejected(stage=self.stage, kind="failure", reason=reason, row_id=row_id, detail=detail)
        self._rejected.append(failed)

    def rejected(self) -> pl.DataFrame:
        """What was rejected so far, as a table of Rejected."""
        return tables.frame(Rejected, self._rejected)


def expect_one_meaning(named: dict[str, str], source_id: str | None, row_id: str, where: str, place: str) -> None:
    """InputError if the user's id already stands for another text; `named` collects which id stands for which row."""
    if source_id is not None and named.setdefault(source_id, row_id) != row_id:
        raise InputError(where, place, found=f"the id '{source_id}' a second time, with another text", expected="one text for each id")


Row = TypeVar("Row", bound=Record)


def draw_distinct(sieve: Sieve, rows: Iterable[tuple[str, str, Row]], seed: int, count: int | None, where: str) -> list[Row]:
    """From (id, text, row) triples the `count` distinct ones with the lowest draws (all for None). Raising `count` keeps the earlier ones.

    Rows are taken in the order of their draws until there are enough; those after that are not looked at. InputError if there are too few.
    """
    triples = list(rows)
    kept: list[Row] = []
    for place in np.argsort(draw(seed, sieve.stage, keys(row_id for row_id, _, _ in triples)), kind="stable"):
        if len(kept) == count:
            return kept
        row_id, text, row = triples[place]
        if sieve.admit(row, row_id, text):
            kept.append(row)
    if count is not None and len(kept) < count:
        raise InputError(where, found=f"{len(kept)} distinct {sieve.stage}", expected=f"count: {count}")
    return kept
