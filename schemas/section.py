"""The base of every part of a recipe, and the kinds of value that recur in it.

class Shards(Section): prompts: Count = Field(default=8, …)
Shards.model_validate({"promts": 4})    ->  unknown key 'promts'; did you mean 'prompts'?
"""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from prefloom.schemas.errors import nearest


class Section(BaseModel):
    """Base of every part of a recipe: strict about keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'; {nearest(str(key), cls.model_fields)}")
        return data


def portable(reference: str) -> str:
    """How data speak of a template: a file of the user's goes by its bare name, wherever it lies."""
    return Path(reference).name if reference.endswith(".md") else reference


def _distinct(names: list[str]) -> list[str]:
    if repeated := [name for name, n in Counter(map(portable, names)).items() if n > 1]:
        raise ValueError(f"'{repeated[0]}' stands there twice")
    return names


def _decimal(value: Any) -> Any:
    # 0.15 in YAML is a binary fraction; its shortest decimal form is what stood in the file.
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


Distinct = Annotated[list[str], AfterValidator(_distinct)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Money = Annotated[Decimal, BeforeValidator(_decimal), Field(strict=False, ge=0, allow_inf_nan=False)]
