r"""Delimiters that the text between them cannot forge, and the reader that trusts no others.

    fence("Boil an egg.", "task")  ->  "<task-4be1c0ffee12>\nBoil an egg.\n</task-4be1c0ffee12>"
    fenced(message)                ->  {"task": "Boil an egg.", …}
    apart(message)                 ->  the same, and what stands around the passages

The digits are the hash of the text itself: whoever writes the text would have to write its own hash into it.
"""

import hashlib
import re
from functools import lru_cache

_OPEN = re.compile(r"<([a-z][a-z-]*?-[0-9a-f]{12})>\n")
_DIGITS = 13  # characters of a tag after its name
_UNCLOSED = 50  # tags without an end, after which nothing more is looked for: each costs a search of all the rest


@lru_cache(maxsize=1024)
def fence(text: str | None, name: str) -> str:
    """The text between delimiters that depend on it."""
    digits = hashlib.blake2b((text or "").encode("utf-8", "replace"), digest_size=6).hexdigest()
    return f"<{name}-{digits}>\n{text or ''}\n</{name}-{digits}>"


def fenced(message: str) -> dict[str, str]:
    """name -> text of every outermost fenced passage; what looks like a fence inside one is part of its text."""
    return apart(message)[0]


def apart(message: str) -> tuple[dict[str, str], str]:
    """(passages by name, the words around them)."""
    found: dict[str, str] = {}
    around: list[str] = []
    position = said = unclosed = 0
    while unclosed < _UNCLOSED and (match := _OPEN.search(message, position)):
        tag = match[1]
        opened, start = match.span()
        end = message.find(f"\n</{tag}>", start)
        if end < 0:
            position, unclosed = start, unclosed + 1
            continue
        found[tag[:-_DIGITS]] = message[start:end]
        around.append(message[said:opened])
        position = said = end + len(tag) + 4
    around.append(message[said:])
    return found, "".join(around)
