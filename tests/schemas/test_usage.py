"""What calls cost, to the decimal, and what is not known stays unknown."""

from decimal import Decimal

import pytest
import yaml
from pydantic import ValidationError

from prefloom.schemas.recipe import Price, Recipe, Resolved
from prefloom.schemas.usage import Usage, spend, total
from tests.helpers import BASE


def test_prices_are_decimals_as_written() -> None:
    price = Price.model_validate(yaml.safe_load("{prompt: 0.15, completion: '0.60'}"))
    assert (price.prompt, price.completion) == (Decimal("0.15"), Decimal("0.60"))
    used = {"judge": Usage(3, 1_000_001, 10), "free": Usage(5, 7, 7)}
    assert spend(used, {"judge": price}) == Decimal("0.15000615")
    assert spend(used, {}) is None


@pytest.mark.parametrize("value", [-1, ".nan", ".inf", "true", "abc", "[1]"])
def test_odd_prices_are_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate(yaml.safe_load(f"{{prompt: {value}, completion: 1}}"))


def test_usage_is_summed_by_model() -> None:
    parts = [{"b": Usage(1, 2, 3, 0)}, {"a": Usage(1, 0, 0, 1), "b": Usage(1, 1, 1, 0)}]
    assert total(parts) == {"a": Usage(1, 0, 0, 1), "b": Usage(2, 3, 4, 0)}


def test_prices_and_rates_leave_the_fingerprint_alone_and_survive_the_disk() -> None:
    plain = Resolved(recipe=Recipe.model_validate(BASE), inputs={})
    extra = BASE | {"prices": {"judge": {"prompt": 0.1, "completion": 0.2}}, "rates": {"judge": {"calls_per_second": 9.5}}}
    priced = Resolved(recipe=Recipe.model_validate(extra), inputs={})
    assert priced.data() == plain.data()
    assert Resolved.model_validate(yaml.safe_load(yaml.safe_dump(priced.model_dump(mode="json")))) == priced
    with pytest.raises(ValidationError, match="did you mean 'judge'"):
        Recipe.model_validate(BASE | {"prices": {"juge": {"prompt": 1, "completion": 1}}})
