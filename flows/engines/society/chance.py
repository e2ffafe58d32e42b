"""Normal and uniform numbers that are functions of a name, so that nothing depends on what was drawn before.

normals("misreading", 20, 68)  ->  the same 20 × 68 matrix on every machine
Dice("scholar", request).random()  ->  the same number for the same request
"""

import hashlib
import random
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from prefloom.flows.engines.protocol import Request
from prefloom.schemas.ids import draw, unit

Floats = NDArray[np.float64]


def normals(name: str, *shape: int, seed: int = 0) -> Floats:
    """Independent standard normal numbers (Box and Muller 1958), fixed by the name and the seed."""
    count = int(np.prod(shape))
    places = np.arange(count, dtype=np.uint64)
    radius = np.sqrt(-2.0 * np.log(1.0 - unit(draw(seed, f"{name}/radius", places))))
    return (radius * np.cos(2 * np.pi * unit(draw(seed, f"{name}/angle", places)))).reshape(shape)


def uniforms(name: str, *shape: int, seed: int = 0) -> Floats:
    """Independent numbers in [0, 1), fixed by the name and the seed."""
    return unit(draw(seed, name, np.arange(int(np.prod(shape)), dtype=np.uint64))).reshape(shape)


class Dice(random.Random):
    """Dice that fall as they always do for this member and message, but for a share of the throws that grows with the temperature."""

    def __init__(self, character: str, request: Request) -> None:
        own, anew = (_hashed([character, request.messages, *more]) for more in ([], [request.temperature, request.seed, request.repeat]))
        super().__init__(own)
        self._anew, self._share = random.Random(anew), min(0.3 * request.temperature, 1.0)

    def random(self) -> float:
        """The next throw, 0 to 1."""
        own, anew = super().random(), self._anew.random()
        return anew if self._share and self._anew.random() < self._share else own


def _hashed(content: list[Any]) -> int:
    return int.from_bytes(hashlib.blake2b(orjson.dumps(content), digest_size=16).digest())
