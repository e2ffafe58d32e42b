"""A recipe as it may leave the machine: no folder, no address of a server, nothing that says how fast or for how much it was run.

portable(resolved)  ->  {"recipe": {"name": "demo", "prompts": [{"source": "file", "path": "prompts.jsonl"}], …},
                         "inputs": {"prompts.jsonl": "<sha256>"}}

`prefloom build` reads it as it reads recipe.resolved.yaml: with those files beside it the fingerprint is that of the dataset. Files that
ship with prefloom are not named, templates of the author's own go by their bare name.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from prefloom.flows.dataset.licences import shipped_files
from prefloom.schemas.embedder import SERVING
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.recipe import EXCLUDED, FILES, OPAQUE, Resolved
from prefloom.schemas.rewards import REWARD_SERVING
from prefloom.schemas.section import portable as bare

_FOLDERS = re.compile(r"(?<![\w./:-])(?:~|[A-Za-z]:[\\/]|/)(?:[\w.@ -]*[\\/])+[\w.@-]+")


def portable(resolved: Resolved) -> dict[str, Any]:
    """The recipe and the hashes of its input files."""
    shipped, inputs = shipped_files(), {}

    def named(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: value if name in OPAQUE else named(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [named(item, key) for item in node]
        if not isinstance(node, str) or key not in (*FILES, "template", "templates"):
            return node
        if key not in FILES:
            return bare(node)
        if resolved.inputs.get(node) in shipped:
            return None
        inputs[Path(node).name] = resolved.inputs[node]
        return Path(node).name

    recipe = resolved.recipe.model_dump(mode="json", exclude=set(EXCLUDED) - {"publish"})
    for section, keys in (
        (recipe.get("embeddings"), SERVING),
        *((reward, REWARD_SERVING) for reward in (recipe.get("rewards") or {}).values()),
    ):
        for key in keys:
            (section or {}).pop(key, None)
    return {"recipe": named(recipe), "inputs": inputs}


def text(resolved: Resolved) -> str:
    """The same as YAML."""
    return yaml.safe_dump(portable(resolved), sort_keys=False, allow_unicode=True, width=120)


def folders(found: Manifest) -> list[str]:
    """Names in a manifest that are folders of a machine: models that were called by the path of their weights."""
    said = [*found.models.values(), *(str(model.get("model", "")) for model in found.recipe.get("models", {}).values())]
    said += [str((found.recipe.get("embeddings") or {}).get("model", ""))]
    return sorted({name for name in said if _FOLDERS.search(name)})
