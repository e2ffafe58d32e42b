"""What a recipe says about publishing, and what is known of licences. It changes no data, and so no fingerprint.

publish:
  licence: cc-by-4.0                                          # of the dataset; by default that which all its sources have
  licences: {writer: apache-2.0, prompts.jsonl: cc-by-4.0}    # model or file -> licence of what comes from it
  pretty_name: Who prefers what in the kitchen
  authors: [Ada Example]
"""

from typing import Literal

from pydantic import Field, field_validator

from prefloom.schemas.errors import nearest
from prefloom.schemas.section import Section

Kind = Literal["free", "alike", "noncommercial", "noncommercial-alike", "frozen", "terms", "closed"]
# Identifiers as the Hub writes them. free: any use, maybe naming the authors; alike: what is made of it has the same licence;
# noncommercial: no licence that allows commerce; frozen: nothing may be made of it; terms: its own conditions come along; closed: not
# to be passed on at all.
LICENCES: dict[str, Kind] = {
    **dict.fromkeys(("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense", "pddl", "isc", "bsl-1.0"), "free"),
    **dict.fromkeys(("cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "odc-by", "cdla-permissive-1.0", "cdla-permissive-2.0", "afl-3.0"), "free"),
    **dict.fromkeys(("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl", "cdla-sharing-1.0", "gfdl", "gpl-3.0", "agpl-3.0"), "alike"),
    **dict.fromkeys(("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0"), "noncommercial"),
    **dict.fromkeys(("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"), "noncommercial-alike"),
    **dict.fromkeys(("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"), "frozen"),
    **dict.fromkeys(("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "openrail", "other"), "terms"),
    "proprietary": "closed",
}


def _known(licence: str) -> str:
    if licence not in LICENCES:
        raise ValueError(f"licence '{licence}'; {nearest(licence, LICENCES)}. `other` says that its terms are known, and allow this")
    return licence


class Publish(Section):
    """What the dataset's page on the Hub says, and under which licences its texts stand."""

    licence: str | None = Field(default=None, description="Of the dataset; null: that which all its sources have, if they have the same")
    licences: dict[str, str] = Field(
        default={}, description="Name from `models`, or name of an input file without its folder -> licence of the texts that come from it"
    )
    pretty_name: str | None = Field(default=None, min_length=1, max_length=200, description="Title of its page (default: its name)")
    description: str | None = Field(default=None, max_length=10_000, description="A paragraph that opens the page")
    language: list[str] = Field(default=["en"], description="Codes of the languages of its texts (ISO 639-1)")
    authors: list[str] = Field(default=[], description="Who is to be cited")
    citation: str | None = Field(default=None, max_length=10_000, description="BibTeX (default: made of the other keys)")
    not_secret: list[str] = Field(default=[], description="Ids of rows whose text looks like a key or password and is none")

    @field_validator("licence")
    @classmethod
    def _licence(cls, licence: str | None) -> str | None:
        return None if licence is None else _known(licence)

    @field_validator("licences")
    @classmethod
    def _licences(cls, licences: dict[str, str]) -> dict[str, str]:
        return {name: _known(licence) for name, licence in licences.items()}

    @field_validator("language")
    @classmethod
    def _codes(cls, codes: list[str]) -> list[str]:
        for code in codes:
            if not (code.isascii() and code.isalpha() and code.islower() and len(code) in (2, 3)):
                raise ValueError(f"language '{code}'; two or three lower-case letters make a code, such as en")
        return codes
