r"""What a reader sees: when two texts are the same, when there is nothing, and what may reach a terminal.

normal("  Hello,\nWORLD ")  ->  "hello, world"        length_only("Yes.", "Yes. And more.")  ->  True
"""

import unicodedata

# Printable by their category, and yet nothing is seen of them.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_STACKED = 8  # combining marks on one letter; no language needs more


def normal(text: str) -> str:
    """Case, white space and Unicode form removed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def length_only(first: str, second: str) -> bool:
    """Whether one text begins with the whole of the other."""
    heads = [_head(text) for text in (first, second)]
    if all(heads) and heads[0] != heads[1]:
        return False
    shorter, longer = sorted((normal(first), normal(second)), key=len)
    return longer.startswith(shorter)


def _head(text: str) -> str:
    """The first characters of a long text's normal form, or nothing where they are not to be had for little."""
    head = text[:200]
    form = " ".join(head.casefold().split()) if head.isascii() else ""
    return form[:32] if len(form) > 32 else ""


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing: white space, control and zero-width characters, fillers and marks without a letter."""
    return not any(c.isprintable() and not c.isspace() and c not in _UNSEEN and unicodedata.category(c)[0] != "M" for c in text)


def visible(value: str) -> str:
    r"""The text with control, direction and zero-width characters, and heaped-up accents, written as \x1b or \u202e; line breaks stay."""
    shown, heap = [], 0
    for c in value:
        kind = unicodedata.category(c)
        heap = heap + 1 if kind[0] == "M" else 0
        hidden = (kind[0] == "C" and c != "\n") or kind in ("Zl", "Zp") or heap > _STACKED
        shown.append(c.encode("unicode_escape").decode() if hidden else c)
    return "".join(shown)


def short(value: str, longest: int = 300) -> str:
    """The text, or its beginning with its length named where it is longer than a reader wants."""
    return value if len(value) <= longest else f"{value[:longest]} … ({len(value):,} characters)"
