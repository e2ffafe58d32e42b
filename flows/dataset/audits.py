"""audit.json: how often the labels of a dataset are right, measured once it was finished.

    write(store, digest(store), {"truth": {…}, "gold": None})       read(store)["truth"]["accuracy"]  ->  {…}

It lies in the run folder beside the manifest, not in it, and no hash takes it in: measuring a dataset does not change it. It says of which
manifest it speaks, so that the figures of an earlier state are never taken for those of the present one.
"""

import hashlib
import json
import math
from typing import Any, cast

from prefloom.flows.dataset.stages import MANIFEST
from prefloom.flows.dataset.store import Store

NAME = "audit.json"
VERSION = 2  # raise it when a figure means something else


def digest(store: Store) -> str:
    """The hash of the manifest as it now is."""
    return hashlib.sha256(store.read(MANIFEST)).hexdigest()


def read(store: Store) -> dict[str, Any]:
    """What is known of the dataset as it now is; nothing if the file is of another state, of another version, or damaged."""
    try:
        found = json.loads(store.read(NAME))
    except (OSError, ValueError, RecursionError):
        return {}
    current = isinstance(found, dict) and (found.get("version"), found.get("manifest")) == (VERSION, digest(store))
    return found if current else {}


def write(store: Store, measured: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Publish the figures of the manifest with the hash `measured`; what was written, as `read` will give it."""
    content = plain({"version": VERSION, "manifest": measured} | figures)
    text = json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    store.publish(NAME, lambda file: file.write(text))
    return cast("dict[str, Any]", content)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: six decimals are kept of a float, and what is not known is null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
