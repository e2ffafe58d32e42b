r"""Small questions about texts, asked by more than one stage.

normal("  Hello,\nWORLD ")  ->  "hello, world"        latin_share("Привет!")  ->  0.0
is_refusal("I'm sorry, but I can't help with that.")   ->  True
"""

import re
import unicodedata

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.schemas.label import Rejected
from prefloom.schemas.record import Record

_REFUSAL = re.compile(
    r"\s*(?:i['’]?m sorry,? (?:but )?|i apologi[sz]e,? (?:but )?|sorry,? (?:but )?|unfortunately,? )?"
    r"(?:as an ai(?: language model)?,? )?"
    r"i (?:cannot|can['’]?t|can not|am (?:not able|unable) to|['’]?m (?:not able|unable) to|won['’]?t) "
    r"(?:help|assist|provide|answer|comply|fulfil|fulfill|support|do that|create|write|engage|discuss|give)",
    re.IGNORECASE,
)


def normal(text: str) -> str:
    """Case, white space and Unicode form removed: what makes two texts the same to a reader."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining (an answer that declines later on is not caught)."""
    return _REFUSAL.match(text) is not None


def latin_share(text: str) -> float:
    """Share of the letters that are Latin; 1 for a text without letters."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return 1.0
    return sum(c.isascii() or "LATIN" in unicodedata.name(c, "") for c in letters) / len(letters)


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
        form = normal(text)
        if not form:
            return self.reject(row, row_id, "empty", "no text")
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

    def rejected(self) -> pl.DataFrame:
        """What was rejected so far, as a table of Rejected."""
        return tables.frame(Rejected, self._rejected)
