"""The reference pages in docs/, written from the records and the recipe's schema, so that they cannot say something else.

    python -m prefloom.flows.dataset.reference docs      (make docs)    ->  docs/tables.md, docs/recipe.md

A test holds the committed pages to what this module writes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from prefloom.flows.dataset.validate import RECORDS
from prefloom.schemas.exported import RECORDS as EXPORTED
from prefloom.schemas.recipe import EXCLUDED, Recipe

_FOLDERS = {"exports/fedbiscuit/clients": "client_id=<persona_id>"}  # what stands below an export's folder, where it is no split
Schema = dict[str, Any]  # a JSON Schema, or a part of one


def tables() -> str:
    """Every table of a dataset with its columns, as Markdown."""
    lines = ["# Tables and columns", "", "Written from the records in `schemas/` by `make docs`.", ""]
    exported = {f"{place}/{_FOLDERS.get(place, '<split>')}": record for place, record in EXPORTED.items()}
    for name, record in ({name: record for name, record in RECORDS.items() if name != "exports"} | exported).items():
        about = " ".join((record.__doc__ or "").split())
        lines += [f"## `{name}/`", "", about, "", "| column | type | what it is |", "|---|---|---|"]
        for field in record.arrow_schema():
            kind = _arrow(field.type) + (", or null" if field.nullable else "")
            lines.append(f"| `{field.name}` | {kind} | {_cell((field.metadata or {})[b'description'].decode())} |")
        lines.append("")
    return "\n".join(lines)


def _arrow(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_arrow(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(field.name for field in kind) + "}"
    names = {"string": "text", "int64": "integer", "int8": "8-bit integer", "double": "float", "halffloat": "16-bit float", "bool": "bool"}
    return names[str(kind)]


def recipe() -> str:
    """Every section of a recipe with its keys, as Markdown."""
    schema = Recipe.model_json_schema()
    sections = schema["$defs"]
    lines = [
        "# The recipe, key by key",
        "",
        "Written from `schemas/recipe.py` by `make docs`. A key without default is required.",
        "",
    ]
    lines += ["## The whole", "", *_keys(schema, sections), ""]
    unhashed = ", ".join(f"`{name}`" for name in sorted(EXCLUDED))
    lines += [f"{unhashed} are left out of the fingerprint: they change no data.", ""]
    for name in sections:
        about = " ".join(str(sections[name].get("description", "")).split())
        lines += [f"## {name}", "", about, "", *_keys(sections[name], sections), ""]
    return "\n".join(lines)


def _keys(section: Schema, sections: Schema) -> Iterator[str]:
    yield from ("| key | value | default | what it does |", "|---|---|---|---|")
    for key, value in section["properties"].items():
        required = key in section.get("required", [])
        default = "" if required else f"`{_default(value.get('default'))}`"
        about = value.get("description") or sections[_target(value)]["description"]
        yield f"| `{key}` | {_cell(_value(value))} | {_cell(default)} | {_cell(about)} |"


def _target(value: Schema) -> str:
    """The section that a key without a description of its own leads to."""
    return str(value["$ref"]).rsplit("/", 1)[1]


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "see there"
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)


def _value(schema: Schema) -> str:
    """`integer ≥ 1`, `list of text`, `[Splits](#splits)`: what may stand behind a key."""
    if "$ref" in schema:
        name = _target(schema)
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_value(option) for option in options))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_value(schema['items'])}"
        case "object":
            return f"name → {_value(schema['additionalProperties'])}"
        case "null":
            return "null"
        case kind:
            return {"string": "text", "boolean": "true or false"}.get(str(kind), str(kind)) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:,.15g}" for key, sign in signs.items() if key in schema]
    return " " + ", ".join(bounds) if bounds else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(folder: Path) -> None:
    """Write both pages."""
    for name, text in (("tables.md", tables()), ("recipe.md", recipe())):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
