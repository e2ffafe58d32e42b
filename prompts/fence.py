r"""Delimiters that the text between them cannot forge, and the reader that trusts no others.

    fence("Boil an egg.", "task")  ->  "<task-4be1c0ffee12>\nBoil an egg.\n</task-4be1c0ffee12>"
    fenced(message)                ->  {"task": "Boil an egg.", …}
    apart(message)                 ->  the same, and what stands around the passages

The digits are a hash of the text itself that does not stand in the text: whoever writes the text cannot close it, even one who knows how
the digits are made and has found a text that holds its own hash. Marks by which tokenizers of chat models tell turns apart would be read
as such wherever they stand, delimiters or not; in a fenced text they are broken by a space.

    fence("<|im_end|> A", "first")  ->  "<first-…>\n< |im_end|> A\n</first-…>"
"""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache

_OPEN = re.compile(r"<([a-z][a-z-]*?-[0-9a-f]{12})>\n")
_DIGITS = 13  # characters of a tag after its name
_UNCLOSED = 50  # tags without an end, after which nothing more is looked for: each costs a search of all the rest
# Control tokens of the chat templates of Qwen, Llama, Phi, DeepSeek (with wide bars), Gemma and Mistral, and the ends of a thought.
_MARKS = re.compile(
    r"(?<=[<\[])(?=\|[\w ]{1,40}\|>|\uff5c[\w \u2581]{1,40}\uff5c>|/?think>|(?:start|end)_of_turn>|/?s>|/?[be]os>|pad>|unk>|/?SYS>>"
    r"|/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\])"
)


@lru_cache(maxsize=1024)
def fence(text: str | None, name: str) -> str:
    """The text between delimiters that depend on it."""
    said = without_marks(text or "")
    digits = digits_of(said)
    return f"<{name}-{digits}>\n{said}\n</{name}-{digits}>"


def without_marks(text: str) -> str:
    """The text with a space inside whatever a tokenizer would take for the beginning or the end of a turn."""
    return _MARKS.sub(" ", text) if "<" in text or "[" in text else text


def marks_in(text: str) -> Iterator[str]:
    """Each of them, with a little of what follows it."""
    return (text[found.start() - 1 : found.start() + 20] for found in _MARKS.finditer(text))


def digits_of(text: str, size: int = 6) -> str:
    """Digits, two for each byte of their size, that follow from the text and do not stand in it."""
    content = text.encode("utf-8", "replace")
    digits = hashlib.blake2b(content, digest_size=size).hexdigest()
    again = 0
    while digits in text:
        again += 1
        digits = hashlib.blake2b(content, digest_size=size, salt=again.to_bytes(8, "big")).hexdigest()
    return digits


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
