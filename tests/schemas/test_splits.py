"""Splits are disjoint by construction."""

from prefloom.schemas.ids import content_id
from prefloom.schemas.splits import CELLS, SPLITS, cells, split_of

IDS = [content_id("x", i) for i in range(20_000)]


def test_shares_are_met_and_depend_on_the_id_alone() -> None:
    splits = split_of(IDS, 0.1, 0.2)
    assert abs(splits.count("test") / len(IDS) - 0.2) < 0.01
    assert abs(splits.count("validation") / len(IDS) - 0.1) < 0.01
    assert split_of(IDS[::-1], 0.1, 0.2) == splits[::-1]


def test_growing_the_test_share_never_moves_a_test_id_out() -> None:
    small, large = split_of(IDS, 0.1, 0.1), split_of(IDS, 0.1, 0.3)
    assert all(after == "test" for before, after in zip(small, large, strict=True) if before == "test")


def test_no_choice_on_validation_can_meet_a_test_persona_or_prompt() -> None:
    for (persona, prompt), split in CELLS.items():
        assert ("test" in (persona, prompt)) == split.startswith("test_new_")
    assert ("validation", "test") not in CELLS
    assert ("test", "validation") not in CELLS
    assert SPLITS == ("train", "validation", "test_new_prompts", "test_new_personas", "test_new_both")
    assert cells().height == len(CELLS)
