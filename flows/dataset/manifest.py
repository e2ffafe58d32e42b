"""The manifest is written last and by conditional create: no manifest, no dataset.

compose(run, templates={"judge/pairwise": "…"}, models={"judge": "society/good-…@…"})  ->  its bytes, which `build` creates at the end
load(Store("data/runs/demo-3b9c…"))  ->  Manifest; InputError if there is none or it cannot be read
"""

import platform
from collections.abc import Mapping
from importlib.metadata import version

from pydantic import ValidationError

from prefloom.flows.dataset import probes
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.stages import MANIFEST, entry, of
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError
from prefloom.schemas.manifest import SCHEMA_VERSION, Manifest
from prefloom.schemas.recipe import Recipe

_LIBRARIES = ("prefloom", "numpy", "polars", "pyarrow", "jinja2")


def compose(run: Run, templates: Mapping[str, str], models: Mapping[str, str]) -> bytes | None:
    """The manifest's bytes for the stages as they now are, or None while one is unfinished."""
    wanted = of(run.resolved.recipe)
    stages = {stage.name: done for stage in wanted if (done := entry(run.store, stage.name))}
    if len(stages) < len(wanted):
        return None
    manifest = Manifest(
        name=run.resolved.recipe.name,
        fingerprint=run.resolved.fingerprint,
        recipe=run.resolved.data(),
        parents=sorted(set(run.resolved.inputs.values())),
        templates=dict(sorted(templates.items())),
        models=dict(sorted(models.items())),
        probes=probes.of_run(run.store, sorted(run.resolved.recipe.models)),
        versions={"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
        stages=stages,
    )
    return manifest.model_dump_json(indent=1).encode() + b"\n"


def stands(run: Run, composed: bytes | None) -> bool:
    """Whether the manifest on disk is the composed one."""
    return composed is not None and run.store.exists(MANIFEST) and run.store.read(MANIFEST) == composed


def load(store: Store) -> Manifest:
    """The manifest of a finished dataset."""
    if not store.exists(MANIFEST):
        raise InputError(store.url, found="no manifest.json", expected="a finished dataset: the run folder that `build` names at its end")
    try:
        manifest = Manifest.model_validate_json(store.read(MANIFEST))
    except ValidationError as error:
        raise _unreadable(store, error) from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise InputError(f"{store.url}/{MANIFEST}", "schema_version", found=str(manifest.schema_version), expected=str(SCHEMA_VERSION))
    return manifest


def recipe_of(store: Store, manifest: Manifest) -> Recipe:
    """The recipe that the manifest carries, checked; paths in it are hashes of what lay there."""
    try:
        return Recipe.model_validate(manifest.recipe)
    except ValidationError as error:
        raise _unreadable(store, error, "recipe.") from None


def _unreadable(store: Store, error: ValidationError, prefix: str = "") -> InputError:
    first = error.errors()[0]
    place = prefix + ".".join(str(part) for part in first["loc"])
    return InputError(f"{store.url}/{MANIFEST}", place, found=str(first["msg"]), expected="a manifest as `build` wrote it")
