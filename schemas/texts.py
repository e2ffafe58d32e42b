r"""What a reader sees: when two texts are the same, when there is nothing, and what may reach a terminal.

normal("  Hello,\nWORLD ")  ->  "hello, world"        length_only("Yes.", "Yes. And more.")  ->  True
"""

import unicodedata


def normal(text: str) -> str:
    """Case, white space and Unicode form removed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def length_only(first: str, second: str) -> bool:
    """Whether one text begins with the whole of the other."""
    shorter, longer = sorted((normal(first), normal(second)), key=len)
    return longer.startswith(shorter)


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing: white space, control and zero-width characters alone."""
    return not any(c.isprintable() and not c.isspace() for c in text)


def visible(value: str) -> str:
    r"""The text with control, direction and zero-width characters written as \x1b or \u202e; line breaks stay."""
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in value)
