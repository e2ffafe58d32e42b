"""From the YAML that a person wrote to the recipe that is run: strict keys, `--set` overrides, input files hashed.

    resolve("data/recipes/demo.yaml", ["personas.0.count=250", "run.workers=8"])  ->  Resolved
    resolve("demo")                                                               ->  the recipe of that name that ships with prefloom

Paths in a recipe are relative to the recipe; paths in `--set` are relative to where the command runs.
"""

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefloom.flows.dataset.inputs import file_sha256
from prefloom.flows.dataset.plain import expect_file, load_yaml, read_file
from prefloom.flows.dataset.targets import with_target
from prefloom.schemas.errors import InputError, nearest, reason
from prefloom.schemas.recipe import FILES, OPAQUE, Recipe, Resolved

SHIPPED = {
    "seeds": "prompts.jsonl",
    "grid": "traits.yaml",
    "augmented": "prompts.jsonl",
    "entities": "works.csv",
}  # what a source without a path reads, in data/seeds/


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Resolved:
    """Read, override, check and complete a recipe. InputError says what to mend and where."""
    path = _find(recipe)
    tree = _read(path)
    if tree.keys() == {"recipe", "inputs"} and isinstance(tree["recipe"], dict):
        tree = tree["recipe"]  # as a build has stored it: recipe.resolved.yaml
    tree = _anchor(tree, path.parent)
    for override in overrides:
        _override(tree, override)
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(recipe, found=str(error), expected="a recipe of text, numbers, lists and mappings") from None
    try:
        checked = complete(Recipe.model_validate(tree))
    except ValidationError as error:
        raise _explain(recipe, error) from None
    return Resolved(recipe=checked, inputs={name: _sha256(recipe, place, name) for place, name in input_files(checked).items()})


def complete(recipe: Recipe) -> Recipe:
    """Name the shipped files where a source names none, so that they are hashed like any other input; read the table of a population."""
    seeds = Path(str(files("prefloom.data") / "seeds"))

    def filled(source: Any) -> Any:
        shipped = SHIPPED.get(source.source)
        return source if shipped is None or source.path else source.model_copy(update={"path": str(seeds / shipped)})

    named = {name: [filled(source) for source in getattr(recipe, name)] for name in ("personas", "prompts")}
    return with_target(recipe.model_copy(update=named))


def input_files(recipe: Recipe) -> dict[str, str]:
    """Place in the recipe -> path of the input file that is named there."""
    places = {f"{name}.{i}.path": source for name in ("personas", "prompts") for i, source in enumerate(getattr(recipe, name))}
    scored = {f"rewards.{name}.path": reward for name, reward in (recipe.rewards or {}).items()}
    sources = places | {"candidates.path": recipe.candidates} | scored
    named = {place: getattr(source, "path", None) for place, source in sources.items()}
    return {place: path for place, path in (named | {"judgements.calibration": recipe.judgements.calibration}).items() if path}


def _find(recipe: str) -> Path:
    path = Path(recipe)
    try:
        if path.is_file():
            return path.resolve()
    except (OSError, ValueError):  # too long a name, or a NUL in it
        raise InputError("recipe", found=repr(recipe[:80]), expected="the path of a recipe file") from None
    shipped = Path(str(files("prefloom.data") / "recipes"))
    if (shipped / f"{recipe}.yaml").is_file():
        return shipped / f"{recipe}.yaml"
    names = [file.stem for file in shipped.glob("*.yaml")]
    what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "no such file"
    raise InputError(recipe, found=what, expected=f"a recipe file or the name of a shipped recipe; {nearest(recipe, names)}")


def _read(path: Path) -> dict[str, Any]:
    tree = load_yaml(read_file(path), str(path))
    if not isinstance(tree, dict):
        raise InputError(str(path), found=f"a YAML {type(tree).__name__}", expected="a mapping with keys such as name, models, personas")
    return tree


def _anchor(node: Any, folder: Path, key: str = "") -> Any:
    """Make every path (and every template that is a file) absolute."""
    if isinstance(node, dict):
        return {name: value if name in OPAQUE else _anchor(value, folder, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_anchor(value, folder, key) for value in node]
    is_file = isinstance(node, str) and (key in FILES or (key in ("template", "templates") and node.endswith(".md")))
    return os.path.normpath(folder / node) if is_file else node


def _override(tree: Any, override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise InputError("--set", found=f"'{override}'", expected="path=value, for example personas.0.count=250")
    try:
        value = load_yaml(text, "--set")
    except InputError:
        raise InputError("--set", dotted, found=f"'{text}'", expected="a YAML value") from None
    *parents, last = dotted.split(".")
    for part in parents:
        tree = tree.setdefault(part, {}) if isinstance(tree, dict) else _item(tree, part, dotted)
    section = next((part for part in reversed(dotted.split(".")) if not part.isdigit()), "")
    if not set(OPAQUE) & set(parents):
        value = _anchor(value, Path.cwd(), section)
    if isinstance(tree, dict):
        tree[last] = value
    else:
        _item(tree, last, dotted)
        tree[int(last)] = value


def _item(tree: Any, index: str, dotted: str) -> Any:
    if isinstance(tree, list) and index.isdigit() and int(index) < len(tree):
        return tree[int(index)]
    found = f"a list of {len(tree)}" if isinstance(tree, list) else f"the value {tree!r}"
    raise InputError("--set", dotted, found=f"{found} where '{index}' is looked up", expected="an index into a list or a key of a section")


_TAGS = {"file", "seeds", "grid", "template", "written", "models", "society", "endpoint"}
_TAGS |= {"entities", "augmented", "specific", "listed", "asked", "scorer", "transformers", "ensemble", "attributes"}
_KINDS = {"source": "file, or another kind of source", "engine": "endpoint, or another engine"}


def _explain(recipe: str, error: ValidationError) -> InputError:
    """The first error, in words; where several stand, the others are counted."""
    errors = error.errors(include_url=False)
    first, context = errors[0], errors[0].get("ctx", {})
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    place = [str(part) for i, part in enumerate(first["loc"]) if not _is_union_tag(first["loc"], i)]
    given = first.get("input")
    found = f"{given!r}" if isinstance(given, str | int | float | bool | None) else f"a {type(given).__name__}"
    message = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    match first["type"]:
        case "missing":
            found, message = "nothing", "a value"
        case "value_error":
            found, message = message, ""
        case "union_tag_not_found":
            kind = "engine" if place[0] in ("models", "rewards") else "source"
            place, found, message = [*place, kind], "nothing", _KINDS[kind]
        case "union_tag_invalid":
            kind = "engine" if place[0] in ("models", "rewards") else "source"
            place, found, message = [*place, kind], f"'{context['tag']}'", f"one of {context['expected_tags']}"
        case "model_type":
            message = "a mapping of keys"
        case "too_short":
            found, message = "an empty list", "at least one item"
    return InputError(recipe, ".".join(place), found=found + ("" if message else more), expected=message and message + more)


def _is_union_tag(location: tuple[int | str, ...], index: int) -> bool:
    # Pydantic puts the tag of a discriminated union into the location: after a list index, after the name of a model, after `candidates`.
    if index == 0 or location[index] not in _TAGS:
        return False
    return (
        isinstance(location[index - 1], int)
        or location[index - 1] in ("candidates", "views")
        or (index == 2 and location[0] in ("models", "rewards"))
    )


def _sha256(recipe: str, place: str, name: str) -> str:
    expect_file(Path(name), recipe, place)
    try:
        return file_sha256(Path(name))
    except OSError as error:
        raise InputError(recipe, place, found=f"{name}: {reason(error)}", expected="a file that can be read") from None
