"""What is on disk decides how large tonight's dataset is."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.growth import Growth, latest
from prefloom.schemas.errors import InputError

BASE = ["personas.0.count=10", "prompts.0.count=4"]
GROW = Growth("personas.0.count", 5, at_most=18)


def begin(out: Path, *overrides: str) -> Run:
    """A build that was begun, and killed."""
    run = Run.create(out, resolve("demo", [*BASE, *overrides]))
    run.store_recipe()
    return run


def test_a_first_night_has_the_size_of_the_recipe(tmp_path: Path) -> None:
    night = latest("demo", tmp_path, BASE, GROW)
    assert (night.size, night.is_finished()) == (10, False)
    assert night.run.folder == Run.create(tmp_path, resolve("demo", BASE)).folder


def test_the_largest_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    begin(tmp_path)
    killed = begin(tmp_path, "personas.0.count=15")
    night = latest("demo", tmp_path, BASE, GROW)
    assert (night.size, night.run.folder, night.is_finished()) == (15, killed.folder, False)


def test_runs_of_another_recipe_do_not_count(tmp_path: Path) -> None:
    begin(tmp_path, "personas.0.count=15", "seed=7")
    begin(tmp_path, "personas.0.count=9")
    (begin(tmp_path, "personas.0.count=16").folder / "recipe.resolved.yaml").write_text("{damaged")
    assert latest("demo", tmp_path, BASE, GROW).size == 10
    assert latest("demo", tmp_path, [*BASE, "seed=7"], GROW).size == 15


def test_it_grows_by_steps_and_no_further_than_it_may(tmp_path: Path) -> None:
    sizes, night = [], latest("demo", tmp_path, BASE, GROW)
    while grown := night.grown():
        sizes.append(grown.size)
        night = grown
    assert sizes == [15, 18]
    assert night.overrides == [*BASE, "personas.0.count=18"]
    assert latest("demo", tmp_path, BASE, None).grown() is None


@pytest.mark.parametrize("rule", ["personas.0.count", "personas.0.count=50", "personas.0.count=+0", "seed=+1", "personas.0.count=+1;x", ""])
def test_a_rule_that_is_none(rule: str) -> None:
    with pytest.raises(InputError, match=r"--grow: found .*; expected PATH=\+STEP"):
        Growth.parse(rule)


@pytest.mark.parametrize("key", ["personas.1.count", "prompts.9.count"])
def test_a_rule_for_what_is_not_there(key: str) -> None:
    with pytest.raises(InputError, match=f"--grow: {key}: found nothing there"):
        Growth(key, 1).value(resolve("demo").recipe)
