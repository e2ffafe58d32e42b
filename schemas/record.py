"""The base of every row that touches disk: a frozen pydantic model from which its Arrow schema is generated.

class Trait(Record):
    name: str = Field(description="...")
Trait.arrow_schema()  ->  pyarrow schema, one field per attribute, not null unless the annotation allows None
"""

from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

_SCALARS: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class Record(BaseModel):
    """A row: unknown fields are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    @cache
    def arrow_schema(cls) -> pa.Schema:
        """The Arrow schema of this record; field descriptions travel as field metadata."""
        return pa.schema(_fields(cls))


def _fields(record: type[BaseModel]) -> list[pa.Field]:
    fields = []
    for name, info in record.model_fields.items():
        stated = next((note for note in info.metadata if isinstance(note, pa.DataType)), None)  # Annotated[list[float], pa.list_(…)]
        kind, nullable = (stated, False) if stated else _arrow_type(info.annotation)
        fields.append(pa.field(name, kind, nullable=nullable, metadata={"description": info.description or ""}))
    return fields


def _arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """(Arrow type, nullable) of a field annotation; raises TypeError for what has no column type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType) and NoneType in arguments:
        (inner,) = (a for a in arguments if a is not NoneType)
        return _arrow_type(inner)[0], True
    if origin is Literal:
        return pa.string(), False
    if origin is list:
        kind, nullable = _arrow_type(arguments[0])
        return pa.list_(pa.field("element", kind, nullable=nullable)), False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([field.remove_metadata() for field in _fields(annotation)]), False
    if annotation in _SCALARS:
        return _SCALARS[annotation], False
    raise TypeError(f"no Arrow type for {annotation!r}")
