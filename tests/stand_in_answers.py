"""What the stand-in server says: a function of the request's content, so that the same question always gets the same answer.

letters(messages)                 ->  {"A": -0.31, "B": -1.52, …}     a judge: log-odds from pair and persona
prose(messages, seed)             ->  "Careful readers often …"       the writer
from_schema({"type": "object", …}) ->  {"name": "word", …}            structured output
"""

import base64
import hashlib
import math
import random
import re
import struct
import zlib
from typing import Any

from tests.stand_in_faults import unit

Messages = list[dict[str, Any]]
BIAS = 0.3  # log-odds for whichever answer stands first
WORDS = re.findall(
    r"\w+",
    "the a careful reader often finds that small steps make long work easy and every plain answer begins with one clear thing you can do "
    "today then looks at what it costs who gains where it fails how much time is left when to stop why others choose another way which "
    "tools help best for beginners or experts in most places some warm light fresh paper garden river morning letter table music bread",
)
_FENCED = re.compile(r"<(task|first|second|persona)-([0-9a-f]{12})>\n(.*?)\n</\1-\2>", re.DOTALL)
_TOKEN = re.compile(r" ?\w+|\s|[^\w\s]")


def passages(messages: Messages) -> dict[str, str]:
    """The fenced parts of all messages, by name."""
    return {name: text for message in messages for name, _, text in _FENCED.findall(str(message["content"]))}


def log_odds(messages: Messages) -> float:
    """Of the answer that is shown first. Exchanging the answers changes its sign, but for the bias."""
    parts = passages(messages)
    if not {"first", "second"} <= parts.keys():
        return 4 * unit("unfenced", messages) - 2
    low, high = sorted((parts["first"], parts["second"]))
    taste = 8 * unit("taste", low, high, parts.get("persona", "")) - 4
    return (taste if parts["first"] == low else -taste) + BIAS


def letters(messages: Messages, mass: float) -> dict[str, float]:
    """Token -> log-probability, the likeliest first: the two letters and what else comes to a judge's mind."""
    both = min(0.999, max(0.001, mass + 0.04 * (2 * unit("mass", messages) - 1)))
    first = both / (1 + math.exp(-log_odds(messages)))
    rest = {token: (1 - both) * 0.5 ** (i + 1) for i, token in enumerate(("I", "Answer", " A", "The", "a", "**", "B)", "\n"))}
    tokens = {"A": first, "B": both - first, **rest}
    return {token: math.log(p) for token, p in sorted(tokens.items(), key=lambda item: -item[1])}


def letter(logprobs: dict[str, float], messages: Messages, seed: int, temperature: float) -> str:
    """The token that is said: the likeliest at temperature 0, otherwise one drawn by the seed."""
    if not temperature:
        return next(iter(logprobs))
    left = unit("letter", messages, seed) * sum(map(math.exp, logprobs.values()))
    for token, logprob in logprobs.items():
        left -= math.exp(logprob)
        if left < 0:
            return token
    return token


def prose(messages: Messages, seed: int, temperature: float, max_tokens: int) -> tuple[str, str]:
    """(text, finish_reason): 20 to 60 words, cut at max_tokens of them."""
    draw = random.Random(f"{messages}\0{seed if temperature else ''}")
    words = draw.choices(WORDS, k=draw.randint(20, 60))
    said = words[:max_tokens]
    text = " ".join(word.capitalize() if i % 12 == 0 else f"{word}." if i % 12 == 11 else word for i, word in enumerate(said))
    return text, "stop" if said == words else "length"


def from_schema(schema: dict[str, Any], key: str = "") -> Any:
    """A value that the JSON Schema admits (types, properties, items, enum, const, minimum, minItems)."""
    if "enum" in schema or "const" in schema:
        options = schema.get("enum", [schema.get("const")])
        return options[int(unit(key) * len(options))]
    match schema.get("type", "object"):
        case "object":
            return {name: from_schema(part, f"{key}/{name}") for name, part in schema.get("properties", {}).items()}
        case "array":
            return [from_schema(schema.get("items", {"type": "string"}), f"{key}/{i}") for i in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return unit(key) < 0.5
        case _:
            return " ".join(WORDS[int(unit(key, i) * len(WORDS))] for i in range(6))


def tokens(text: str) -> list[str]:
    """Words with the space before them, and every other character."""
    return _TOKEN.findall(text)


def token_id(token: str) -> int:
    """A character is its own id; a longer token has the hash of its letters."""
    return ord(token) if len(token) == 1 else 2_000_000 + zlib.crc32(token.encode()) % 1_000_000


def chat_text(messages: Messages, generate: bool = True) -> str:
    """The messages as the stand-in's chat template puts them."""
    turns = "".join(f"<|{message['role']}|>\n{message['content']}\n" for message in messages)
    return turns + "<|assistant|>\n" * generate


def vector(text: str, size: int) -> list[float]:
    """A vector that the text decides, of length 1."""
    raw = hashlib.shake_128(text.encode()).digest(4 * size)
    values = [value / 2**32 - 0.5 for value in struct.unpack(f"<{size}I", raw)]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]


def encoded(values: list[float]) -> str:
    """The vector as base64 of float32, which the openai client asks for."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
