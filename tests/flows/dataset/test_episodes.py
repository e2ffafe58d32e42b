"""Episodes: no shot is about the question's prompt, nothing is drawn twice, every preference is a question once or counted."""

import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloom.flows.dataset.episodes import Drawn, Episodes, fit
from prefloom.schemas.ids import content_id

SPLITS = ["train", "validation", "test_new_both"]


def table(counts: dict[tuple[int, int, int], int]) -> pl.DataFrame:
    """Preferences: (persona, split, prompt) -> how many rows; a prompt has one split."""
    rows = [
        (content_id("persona", who), content_id("comparison", split, prompt, n), content_id("prompt", split, prompt), SPLITS[split])
        for (who, split, prompt), count in counts.items()
        for n in range(count)
    ]
    names = ["persona_id", "comparison_id", "prompt_id", "split"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").sort("persona_id", "comparison_id")


TABLES = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 6)), st.integers(1, 3), min_size=1, max_size=40
).map(table)


@given(TABLES, st.integers(0, 4), st.integers(1, 3), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_what_an_episode_is(rows: pl.DataFrame, shots: int, targets: int, epoch: int) -> None:
    drawn = Episodes(rows, "digest").draw(shots, targets, epoch)
    assert drawn.context.shape == (len(drawn.targets), shots)
    assert drawn.targets.shape[1] == targets
    assert len(drawn.targets) + sum(drawn.left_out.values()) == rows.height
    assert len(set(drawn.targets[:, 0].tolist())) == len(drawn.targets)  # each preference is the question of one episode
    together = np.column_stack([drawn.context, drawn.targets])
    for column, different in (("persona_id", 1), ("split", 1), ("prompt_id", shots + targets), ("comparison_id", shots + targets)):
        values = rows[column].rank("dense").to_numpy()[together]
        assert all(len(set(row)) == different for row in values.tolist()), column
    prompts = rows.group_by("persona_id", "split").agg(pl.col("prompt_id").n_unique().alias("n"))
    few = rows.join(prompts, on=["persona_id", "split"]).filter(pl.col("n") < shots + targets).height
    assert sum(drawn.left_out.values()) == few  # nothing else is left out


@given(TABLES, st.data())
@settings(max_examples=30, deadline=None)
def test_who_draws_makes_no_difference(rows: pl.DataFrame, data: st.DataObject) -> None:
    whole = by_id(rows, Episodes(rows, "digest").draw(2))
    questions = np.array(data.draw(st.permutations(range(rows.height))), np.int64)
    cut = data.draw(st.integers(0, rows.height))
    parts = [by_id(rows, Episodes(rows, "digest").draw(2, questions=some)) for some in (questions[:cut], questions[cut:])]
    assert parts[0] | parts[1] == whole
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1)
    assert by_id(shuffled, Episodes(shuffled, "digest").draw(2)) == whole


def by_id(rows: pl.DataFrame, drawn: Drawn) -> dict[tuple[str, ...], list[str]]:
    ids = list(zip(rows["persona_id"], rows["comparison_id"], strict=True))
    return {ids[target[0]]: [ids[shot][1] for shot in shots] for shots, target in zip(drawn.context, drawn.targets.tolist(), strict=True)}


MANY = table({(who, 0, prompt): 2 for who in range(4) for prompt in range(40)})


def test_epoch_seed_and_dataset_make_others() -> None:
    one = by_id(MANY, Episodes(MANY, "digest").draw(8))
    assert one == by_id(MANY, Episodes(MANY, "digest").draw(8))
    for other in (Episodes(MANY, "digest").draw(8, epoch=1), Episodes(MANY, "digest", seed=1).draw(8), Episodes(MANY, "other").draw(8)):
        assert sum(one[key] == shots for key, shots in by_id(MANY, other).items()) == 0


def test_every_other_prompt_is_as_likely_at_every_place() -> None:
    counts = np.zeros((3, 6))
    rows = table({(0, 0, prompt): 1 for prompt in range(7)})
    episodes = Episodes(rows, "digest")
    for epoch in range(1500):
        drawn = episodes.draw(3, epoch=epoch, questions=np.array([0]))
        for place, row in enumerate(drawn.context[0].tolist()):
            counts[place, row - 1] += 1
    chi2 = ((counts - 250) ** 2 / 250).sum(axis=1)
    assert (chi2 < 22).all()  # 5 degrees of freedom: p = .0005


@pytest.mark.parametrize("drop", ["first", "longest"])
def test_shots_go_until_it_fits_and_the_question_never(drop: str) -> None:
    drawn = Episodes(MANY, "digest").draw(4)
    sizes = np.random.default_rng(0).integers(10, 100, MANY.height)
    asked = np.full(MANY.height, 50)
    asked[:5] = 1000
    kept, fits = fit(sizes, asked, drawn, 250, drop)  # type: ignore[arg-type]
    assert fits.tolist() == (asked[drawn.targets[:, 0]] <= 250).tolist()
    for row, (shots, mine) in enumerate(zip(drawn.context, kept, strict=True)):
        if not fits[row]:
            assert not mine.any()
            continue
        assert 50 + sizes[shots[mine]].sum() <= 250
        gone = np.flatnonzero(~mine)
        if len(gone):  # one more would have been too many
            back = gone[-1] if drop == "first" else gone[np.argmin(sizes[shots[gone]])]
            assert 50 + sizes[shots[mine]].sum() + sizes[shots[back]] > 250
            assert drop == "longest" or mine[gone[-1] + 1 :].all()
    assert fit(sizes, asked, drawn, None)[0].all()


def test_a_hundred_thousand_are_a_matter_of_seconds() -> None:
    people = np.repeat(np.arange(500), 200)
    ids = [f"{n:016x}" for n in range(1000)]
    rows = pl.DataFrame(
        {
            "persona_id": [ids[n] for n in people],
            "comparison_id": [f"{n:016x}" for n in range(100_000)],
            "prompt_id": [ids[n % 100] for n in range(100_000)],
            "split": "train",
        }
    )
    began = time.process_time()
    drawn = Episodes(rows, "digest").draw(8)
    assert len(drawn.targets) == 100_000
    assert time.process_time() - began < 10  # half a second on a quiet core
