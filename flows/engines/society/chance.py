"""Normal and uniform numbers that are functions of a name, so that nothing depends on what was drawn before.

normals("misreading", 20, 68)  ->  the same 20 × 68 matrix on every machine
"""

import numpy as np
from numpy.typing import NDArray

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
