"""The simulated tokenizer: a token is a piece of at most four characters, and its id says which.

    pieces("A rose is")   ->  ["A ro", "se i", "s"]        encode("A")  ->  65        decode(65)  ->  "A"

An id is the piece read as a number, so nothing has to be remembered and every id comes back as the text it was made of. A single character
has its code point. Ids stay below 2^53, which every reader of JSON holds exactly: a piece with characters beyond U+260C (Chinese, Korean,
emoji, …) therefore has two characters at most.
"""

PIECE = 4
_NARROW = 9741  # code points below it fit four times
_WIDE = 0x110000
_NARROW_IDS = sum(_NARROW**size for size in range(1, PIECE + 1))
_WIDE_IDS = _WIDE + _WIDE**2


def pieces(text: str) -> list[str]:
    """The tokens of a text, in order."""
    cut = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    if text.isascii():
        return cut
    half = PIECE // 2
    parts = ((piece,) if max(piece) < chr(_NARROW) else (piece[:half], piece[half:]) for piece in cut)
    return [piece for several in parts for piece in several if piece]


def encode(piece: str) -> int:
    """The id of one token."""
    narrow = max(piece) < chr(_NARROW)
    base, value = _NARROW if narrow else _WIDE, 0
    for character in reversed(piece):
        value = value * base + ord(character) + 1  # digits from 1, so that no two pieces are one number
    return value - 1 if narrow else _NARROW_IDS + value - 1


def decode(token: object) -> str:
    """The text of one token. ValueError for what is no id."""
    if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < _NARROW_IDS + _WIDE_IDS:
        raise ValueError("not a token id")
    base, value = (_NARROW, token + 1) if token < _NARROW_IDS else (_WIDE, token - _NARROW_IDS + 1)
    points = []
    while value:
        value, digit = divmod(value - 1, base)
        points.append(digit)
    if any(0xD800 <= point < 0xE000 for point in points):
        raise ValueError("the id of half a character")
    return "".join(map(chr, points))
