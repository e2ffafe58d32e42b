"""Adaptive reading: who is read again, and that nothing but their own readings decides it."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from prefloom.flows.dataset.invariants import judgements as judged
from prefloom.flows.dataset.invariants import labels as aggregated
from prefloom.flows.dataset.invariants_reading import adaptive, asked
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.validate import RECORDS
from prefloom.flows.steps.adaptive import Progress, batches
from prefloom.flows.steps.forecast import forecast
from prefloom.flows.steps.freshness import materials
from prefloom.schemas.checks import Judgements
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.reading import Adaptive
from tests.helpers import resolved, run_stage, table

TEMPLATES = ["judge/pairwise", "judge/choice", "judge/reader"]
SMALL: dict[str, Any] = {
    "models": {
        "terse": {"engine": "society", "character": "terse"},
        "judge": {"engine": "society", "character": "rambler", "phi": 0.25},
    },
    "personas": [{"source": "grid", "count": 6}],
    "prompts": [{"source": "seeds", "count": 5}],
}


def recipe(**rule: float) -> dict[str, Any]:
    """A small recipe whose judge is read adaptively."""
    return SMALL | {"judgements": {"model": "judge", "templates": TEMPLATES, "adaptive": {"keep": 1.0, **rule}}}


def test_far_from_the_threshold_nothing_more_is_read() -> None:
    """Two standard deviations of what is left to read, on either side of `keep`."""
    rule = Adaptive(keep=1.0, spread=1.0)
    # One template of four: 2 · sqrt(1 - 1/4) = 1.73 about 1, so from 2.73 on; sums are of both orders, in steps of 1e-4.
    assert rule.enough(54_641 + 1, 1, 4)
    assert not rule.enough(54_641 - 1, 1, 4)
    assert rule.enough(-60_000, 1, 4)
    assert not rule.enough(-40_000, 1, 4)
    assert not rule.enough(0, 1, 4), "one reading cannot show that a label is hopeless"
    assert rule.enough(0, 3, 4), "three can"
    assert rule.enough(20_000, 1, 1)
    assert not rule.enough(0, 0, 4)
    assert rule.model_copy(update={"most": 2}).enough(0, 2, 4), "the budget is two"


def comparison(count: int = 2) -> Comparison:
    return Comparison(
        comparison_id="c", prompt_id="p", first_id="x", second_id="y", order="ab", length_only=False, inclusion=1.0,
        persona_ids=[f"{i}" for i in range(count)],
    )  # fmt: skip


def test_a_lost_order_is_no_reading() -> None:
    """The next template is asked in its place, and once the budget is spent none is."""
    known = Progress(Judgements(model="judge", templates=TEMPLATES, adaptive=Adaptive(keep=1.0, spread=0.1, most=2)))
    ab, ba = comparison(), comparison().swap()
    assert len([*known.wave([ab], TEMPLATES[0])]) == 4
    known.take((ab, TEMPLATES[0], "0"), 1.0)  # "0" has lost its other order, "1" is clear
    known.take((ab, TEMPLATES[0], "1"), 5.0)
    known.take((ba, TEMPLATES[0], "1"), -5.0)
    second = [*known.wave([ab], TEMPLATES[1])]
    assert [(shown.order, who) for shown, _, who in second] == [("ab", "0"), ("ba", "0")]
    for shown, template, who in second:
        known.take((shown, template, who), 1.0 if shown.order == "ab" else -1.0)
    assert [who for _, _, who in known.wave([ab], TEMPLATES[2])] == ["0", "0"]


def test_batches_hold_what_a_session_remembers() -> None:
    """At most so many readings, and a comparison stays whole."""
    sizes = [[len(some.persona_ids) for some in batch] for batch in batches([comparison(n) for n in (2, 2, 9, 1, 1)], 6, 24)]
    assert sizes == [[2, 2], [9], [1, 1]]


def frames(run: Run) -> dict[str, pl.DataFrame]:
    return {name: table(run, name) for name in ("personas", "comparisons", "judgements", "labels")} | {"rejected": _rejected(run)}


def _rejected(run: Run) -> pl.DataFrame:
    if run.store.list("rejected/*.parquet"):
        return table(run, "rejected")
    return pl.DataFrame(schema=dict.fromkeys(RECORDS["rejected"].model_fields, pl.String))


def test_a_build_reads_what_the_rule_asks_for(tmp_path: Path) -> None:
    """Fewer readings than all, of the same rows; the same whatever the shards; and the checks see one that is missing."""
    run = run_stage(tmp_path / "a", "labels", **recipe())
    data, known = frames(run), run.resolved.recipe
    everything = table(
        run_stage(tmp_path / "b", "judgements", **SMALL, judgements={"model": "judge", "templates": TEMPLATES}), "judgements"
    )
    read = data["judgements"]
    assert 0.4 * everything.height < read.height < 0.95 * everything.height
    keys = ["comparison_id", "persona_id", "order", "template", "repeat"]
    assert read.sort(keys).equals(everything.join(read.select(keys), on=keys, how="semi").sort(keys))
    one = run_stage(tmp_path / "c", "judgements", **recipe(), shards={"prompts": 1, "personas": 1})
    assert read.sort(keys).equals(table(one, "judgements").sort(keys))
    labels = data["labels"]
    assert set(labels["judgements"]) <= {2, 4, 6}
    assert labels["judgements"].n_unique() > 1
    assert (labels["spread"].is_null() == (labels["judgements"] == 2)).all()
    assert [check.problems for check in (judged(data, known), adaptive(data, known), aggregated(data, known))] == [[], [], []]
    bounds, lost = asked(data, known), data["rejected"].filter(pl.col("stage") == "judgements").height
    assert 2 * bounds["fewest"].sum() <= read.height + lost <= 2 * bounds["most"].sum()
    short = data | {"judgements": read.slice(1)}
    assert adaptive(short, known).problems
    assert not adaptive(data, known).problems


def test_plan_counts_what_is_expected(tmp_path: Path) -> None:
    """A free judge is tried out, so the forecast is near; it says what it rests on."""
    run = Run.create(tmp_path, resolved(**recipe()))
    found = forecast(run, materials(run))
    stage = next(stage for stage in found.stages if stage.name == "judgements")
    made = table(run_stage(tmp_path, "judgements", **recipe()), "judgements").height
    assert stage.usage["judge"].calls == pytest.approx(made, rel=0.15)
    assert stage.rows == pytest.approx(made, rel=0.2)
    assert any("adaptive reading" in line for line in found.basis)


def test_votes_are_read_adaptively_too(tmp_path: Path) -> None:
    """Sampled verdicts are log-odds of counts, on which the rule goes as on any other."""
    known = Progress(Judgements(model="judge", templates=TEMPLATES, adaptive=Adaptive(keep=1.0, spread=1.0)))
    from prefloom.flows.engines.protocol import Reply
    from prefloom.flows.steps.judgements import read_letters

    ab, ba = comparison(), comparison().swap()
    for who, counts in (("0", (16, 0)), ("1", (9, 7))):
        for shown, (a, b) in ((ab, counts), (ba, counts[::-1])):
            read = read_letters(Reply(votes={"A": a, "B": b}))
            assert not isinstance(read, str)
            known.take((shown, TEMPLATES[0], who), read[0])
    assert [who for _, _, who in known.wave([ab], TEMPLATES[1])] == ["1", "1"], "16 of 16 in both orders is clear, 9 of 16 is not"


@pytest.mark.parametrize("rule", [{"first": 4}, {"most": 4}, {"first": 2, "most": 1}, {"spread": 0.0}, {"kep": 1.0}])
def test_a_rule_that_cannot_be_kept_is_refused(rule: dict[str, Any]) -> None:
    """More templates than there are, a budget below the beginning, a spread of nothing, a key that nobody knows."""
    with pytest.raises(ValidationError):
        resolved(judgements={"model": "judge", "templates": TEMPLATES, "adaptive": rule})


def test_without_the_key_a_recipe_is_what_it_was() -> None:
    """Neither key is in the fingerprinted data unless it is used."""
    assert resolved().data()["judgements"] == {"model": "judge", "templates": ["judge/pairwise"]}
    assert resolved(judgements={"model": "judge", "adaptive": {}}).fingerprint != resolved().fingerprint
