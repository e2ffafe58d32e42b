"""From the YAML that a person wrote to the recipe that is run: strict keys, `--set` overrides, input files hashed.

    resolve("data/recipes/demo.yaml", ["personas.0.count=250", "run.workers=8"])  ->  Resolved
    resolve("demo")                                                               ->  the recipe of that name that ships with prefloom

Paths in a recipe are relative to the recipe; paths in `--set` are relative to where the command runs.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.recipe import Recipe, Resolved


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Resolved:
    """Read, override, check and complete a recipe. InputError says what to mend and where."""
    path = _find(recipe)
    tree = _anchor(_read(path), path.parent)
    for override in overrides:
        _override(tree, override)
    try:
        checked = Recipe.model_validate(tree)
    except ValidationError as error:
        raise _explain(recipe, error) from None
    inputs = {name: _sha256(recipe, place, name) for place, name in _paths(checked.model_dump())}
    return Resolved(recipe=checked, inputs=inputs)


def _find(recipe: str) -> Path:
    path = Path(recipe)
    if path.is_file():
        return path.resolve()
    shipped = Path(str(files("prefloom.data") / "recipes"))
    if (shipped / f"{recipe}.yaml").is_file():
        return shipped / f"{recipe}.yaml"
    names = [file.stem for file in shipped.glob("*.yaml")]
    what = "a folder" if path.is_dir() else "no such file"
    raise InputError(recipe, found=what, expected=f"a recipe file or the name of a shipped recipe; {nearest(recipe, names)}")


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the standard loader keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key}' twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(str(path), place, found=problem or str(error), expected="valid YAML") from None
    if not isinstance(tree, dict):
        raise InputError(str(path), found=f"a YAML {type(tree).__name__}", expected="a mapping with keys such as name, models, personas")
    return tree


def _anchor(node: Any, folder: Path, key: str = "") -> Any:
    """Make every path (and every template that is a file) absolute."""
    if isinstance(node, dict):
        return {name: _anchor(value, folder, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_anchor(value, folder, key) for value in node]
    is_file = isinstance(node, str) and (key == "path" or (key in ("template", "templates") and node.endswith(".md")))
    return str((folder / node).resolve()) if is_file else node


def _override(tree: Any, override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise InputError("--set", found=f"'{override}'", expected="path=value, for example personas.0.count=250")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError:
        raise InputError("--set", dotted, found=f"'{text}'", expected="a YAML value") from None
    *parents, last = dotted.split(".")
    for part in parents:
        tree = tree.setdefault(part, {}) if isinstance(tree, dict) else _item(tree, part, dotted)
    value = _anchor(value, Path.cwd(), last if not last.isdigit() else parents[-1])
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


_TAGS = {"file", "seeds", "grid", "template", "models"}


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
            place, found, message = [*place, "source"], "nothing", "file, or another kind of source"
        case "union_tag_invalid":
            place, found, message = [*place, "source"], f"'{context['tag']}'", f"one of {context['expected_tags']}"
        case "model_type":
            message = "a mapping of keys"
        case "too_short":
            found, message = "an empty list", "at least one item"
    return InputError(recipe, ".".join(place), found=found + ("" if message else more), expected=message and message + more)


def _is_union_tag(location: tuple[int | str, ...], index: int) -> bool:
    # Pydantic puts the tag of a discriminated union into the location: after a list index, or right after `candidates`.
    return index > 0 and location[index] in _TAGS and (isinstance(location[index - 1], int) or location[index - 1] == "candidates")


def _paths(node: Any, place: str = "") -> list[tuple[str, str]]:
    """(place in the recipe, path) of every input file."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    found: list[tuple[str, str]] = []
    for key, value in items:
        here = f"{place}.{key}" if place else str(key)
        found += [(here, value)] if key == "path" and value else _paths(value, here)
    return found


def _sha256(recipe: str, place: str, name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except IsADirectoryError:
        raise InputError(recipe, place, found=f"the folder {name}", expected="a file") from None
    except OSError as error:
        raise InputError(
            recipe, place, found=f"{name}: {(error.strerror or str(error)).lower()}", expected="a file that can be read"
        ) from None
