"""Prompts that are made: from names, by models after seeds, and for people of one kind (FSPO F5, F6, F7)."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps import freshness
from prefloom.flows.steps.copies import Copies
from prefloom.flows.steps.forecast import forecast
from prefloom.flows.steps.texts import Sieve
from prefloom.flows.steps.written import Writer
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_id
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.prompt_sources import AugmentedPrompts, SpecificPrompts
from tests.helpers import resolved, run_stage, table

SEEDS = ["How do I boil an egg?", "How do I wash a wool pullover?", "What is a good present for a child?", "Who decides what bread costs?"]


class Says:
    """A model that says what it is told to, in turn, and keeps what it was asked."""

    def __init__(self, *replies: Reply | str) -> None:
        self.replies, self.asked = [*replies], list[Request]()

    def ask(self, requests: Sequence[Request], scopes: Sequence[str], again: Callable[[Reply], bool] | None = None) -> list[Reply]:
        self.asked += requests
        said = [self.replies.pop(0) for _ in requests]
        return [Reply(one, "stop") if isinstance(one, str) else one for one in said]


def seed(text: str, domain: str = "everyday") -> Prompt:
    return Prompt(prompt_id=content_id("prompt", text), text=text, domain=domain, source="seeds", source_id=None, split="")


def augmented(says: Says, **settings: Any) -> tuple[list[Prompt], list[tuple[str, str]]]:
    sieve = Sieve("prompts")
    source = AugmentedPrompts.model_validate({"source": "augmented", "model": "terse", "count": 3, "shots": 2, "attempts": 2} | settings)
    kept = Writer(resolved().recipe, {"terse": says}, sieve).augment(source, [seed(text) for text in SEEDS], [])
    return kept, list(sieve.rejected().select("kind", "reason").iter_rows())


def test_a_subset_of_seeds_is_shown_and_recorded() -> None:
    says = Says("Where do swallows sleep?", "Which knot holds best?", "Can fish hear thunder?")
    kept, rejected = augmented(says)
    assert [row.text for row in kept] == ["Where do swallows sleep?", "Which knot holds best?", "Can fish hear thunder?"]
    assert not rejected
    for row, request in zip(kept, says.asked, strict=True):
        shown = [text for text in SEEDS if text in request.messages[-1][1]]
        assert {*row.parents} == {content_id("prompt", text) for text in shown}
        assert len(shown) == 2
    assert len({tuple(row.parents) for row in kept}) > 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("how do i boil an EGG?", ("check", "copies_seed")),
        ("How do I boil an old egg?", ("check", "copies_seed")),
        ("Where do the swallows sleep?", ("check", "repeats")),
        ("  \n", ("check", "empty")),
        ("I'm sorry, but I can't help with that.", ("check", "refused")),
        ("First\nsecond", ("check", "several_lines")),
        ("word " * 61, ("check", "too_long")),
        (Reply("Can fish", "length"), ("check", "truncated")),
        (Reply(error="HTTP 500"), ("failure", "error")),
    ],
)
def test_what_is_unfit_is_rejected_and_asked_for_again(reply: Reply | str, reason: tuple[str, str]) -> None:
    kept, rejected = augmented(Says("Where do swallows sleep?", reply, "Can fish hear thunder?", "Which knot holds best?"))
    assert [row.text for row in kept] == ["Where do swallows sleep?", "Can fish hear thunder?", "Which knot holds best?"]
    assert rejected == [reason]


def test_attempts_bound_the_calls() -> None:
    says = Says(*["How do I boil an egg?"] * 100)
    kept, rejected = augmented(says)
    assert (len(kept), len(says.asked), len(rejected)) == (0, 6, 6)


def test_questions_of_one_kind_of_people() -> None:
    sieve = Sieve("prompts")
    source = SpecificPrompts.model_validate(
        {"source": "specific", "model": "terse", "traits": {"age": ["old"]}, "per_value": 2, "attempts": 2}
    )
    says = Says(
        '{"questions": ["Where do swallows sleep?", "Where do swallows sleep?"]}', "no JSON", '{"questions": ["Which knot holds?"]}'
    )
    kept = Writer(resolved().recipe, {"terse": says}, sieve).specify(source, {"age": ["old"]}, [])
    assert [(row.text, row.scope, row.trait, row.trait_value) for row in kept] == [
        ("Where do swallows sleep?", "specific", "age", "old"),
        ("Which knot holds?", "specific", "age", "old"),
    ]
    assert sieve.rejected()["reason"].to_list() == ["repeats"]


@pytest.mark.parametrize(
    ("one", "other", "likeness"), [("a b c d", "a b c d", 1.0), ("a b c d", "a x c d", 0.75), ("a b c d", "d c b a", None), ("", "", None)]
)
def test_copies(one: str, other: str, likeness: float | None) -> None:
    copies = Copies(0.7)
    copies.add("1", one)
    assert copies.nearest(other) == (likeness and ("1", likeness))


def test_copies_finds_what_comparing_all_would() -> None:
    texts = [f"{a} {b} {c} {a} the" for a in ["how", "why", "what"] for b in ["is", "was", "has", "been"] for c in ["cat", "dog", "bird"]]
    copies = Copies(0.6)
    alone = {text: Copies(0.6) for text in texts}
    for place, text in enumerate(texts):
        copies.add(str(place), text)
        alone[text].add(str(place), text)
    for asked in (*texts, "how the cat was", "dog the bird has"):
        best = max((near for text in texts if (near := alone[text].nearest(asked))), key=lambda near: near[1], default=None)
        found = copies.nearest(asked)
        assert (found and found[1]) == (best and best[1])


def test_a_larger_count_keeps_the_prompts_that_were_there(tmp_path: Path) -> None:
    few, more = (
        {*table(run_stage(tmp_path / str(count), "prompts", prompts=[made(count=count)]), "prompts")["prompt_id"]} for count in (5, 9)
    )
    assert len(few) == 5
    assert few < more


def made(**settings: Any) -> dict[str, Any]:
    return {"source": "augmented", "model": "terse", "count": 6} | settings


def test_made_prompts_are_journaled_and_the_same_again(tmp_path: Path) -> None:
    prompts = [
        made(),
        {"source": "entities", "count": 4},
        {"source": "specific", "model": "judge", "traits": {"age": ["old"]}, "per_value": 3},
    ]
    run = run_stage(tmp_path / "a", "prompts", prompts=prompts)
    rows = table(run, "prompts")
    assert dict(rows["source"].value_counts().iter_rows()) == {"augmented": 6, "entities": 4, "specific": 3}
    seeds = {
        content_id("prompt", json.loads(line)["text"]) for line in Path(run.resolved.recipe.prompts[0].path or "").read_text().splitlines()
    }
    assert {*rows["parents"].explode().drop_nulls()} <= seeds
    before = {path.name: path.read_bytes() for path in (run.folder / "prompts").glob("*.parquet")}
    journal = sorted((tmp_path / "a" / "journal").rglob("sealed*"))
    again = run_stage(tmp_path / "a", "prompts", prompts=prompts)  # as after a kill: all answers are journaled
    assert {path.name: path.read_bytes() for path in (again.folder / "prompts").glob("*.parquet")} == before
    assert sorted((tmp_path / "a" / "journal").rglob("sealed*")) == journal
    found = forecast(again, freshness.materials(again))
    asked = {stage.name: stage for stage in found.stages}["prompts"]
    assert sum(used.calls for used in asked.usage.values()) >= 7
    assert asked.rows == rows.height


def test_a_plan_counts_the_calls_of_models_that_it_cannot_ask(tmp_path: Path) -> None:
    models = {"big": {"engine": "endpoint", "model": "big"}, "judge": {"engine": "society", "character": "good"}}
    source = {"source": "models", "models": ["judge"], "views": {"model": "big", "count": 3}}
    prompts = [made(model="big", count=5), {"source": "specific", "model": "big", "traits": {"age": ["old", "young"]}, "per_value": 12}]
    servers = {"big": {"urls": ["http://127.0.0.1:9/v1"]}}
    run = Run.create(tmp_path, resolved(models=models, prompts=prompts, candidates=source, servers=servers))
    found = {stage.name: stage for stage in forecast(run, freshness.materials(run)).stages}
    assert found["prompts"].usage["big"].calls == 5 + 2 * 2  # 12 questions are asked for in two calls
    assert found["prompts"].rows == 5 + 24
    assert not found["prompts"].exact
    assert found["candidates"].usage["big"].calls == 29
    assert found["candidates"].usage["judge"].calls == 29 * 3
    assert list(tmp_path.rglob("*.parquet")) == []


def test_entities_fill_a_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("kind,title,by\nfilm,Alien,Scott\nbook,,Nobody\nfilm,alien ,Scott\n")
    source = {"source": "entities", "path": str(tmp_path / "t.csv"), "text": "Is the {{ kind }} {{ title }} good?"}
    run = run_stage(tmp_path / "out", "prompts", prompts=[source])
    assert table(run, "prompts")["text"].to_list() in (["Is the film Alien good?"], ["Is the film alien good?"])
    assert sorted(table(run, "rejected")["reason"]) == ["duplicate", "empty"]
    with pytest.raises(InputError, match="variables"):
        run_stage(tmp_path / "bad", "prompts", prompts=[source | {"fields": ["kind", "title", "by"]}])
    with pytest.raises(InputError, match="no column 'name'"):
        run_stage(tmp_path / "bad", "prompts", prompts=[source | {"text": "{{ name }}", "fields": ["name"]}])


def test_the_shipped_titles(tmp_path: Path) -> None:
    rows = table(run_stage(tmp_path, "prompts", prompts=[{"source": "entities"}]), "prompts")
    assert rows.height == 100
    assert all(
        text.startswith(("Write a review of the film ", "Write a review of the novel ")) or "review of the" in text for text in rows["text"]
    )


def test_a_specific_prompt_is_put_to_people_of_its_kind_alone(tmp_path: Path) -> None:
    rows = [
        {"text": f"What about thing {n}?", "t": t, "v": v} for n, (t, v) in enumerate([("age", "old")] * 3 + [("age", "tiny"), ("", "")])
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = [{"source": "file", "path": str(tmp_path / "p.jsonl"), "fields": {"trait": "t", "trait_value": "v"}}]
    people = {
        "source": "template",
        "text": "A {{ age }} {{ work }}.",
        "values": {"age": ["old", "young"], "work": ["nurse", "cook", "poet", "judge"]},
    }
    run = run_stage(tmp_path / "out", "comparisons", personas=[people], prompts=prompts, splits={"validation": 0, "test": 0})
    ages = {row["persona_id"]: dict(t.values() for t in row["traits"])["age"] for row in table(run, "personas").iter_rows(named=True)}
    scopes = dict(table(run, "prompts").select("prompt_id", "trait_value").iter_rows())
    asked = table(run, "comparisons").explode("persona_ids").drop_nulls("persona_ids")
    by_prompt = asked.group_by("prompt_id").agg(pl.col("persona_ids").unique())
    assert {scopes[name]: {ages[who] for who in whom} for name, whom in by_prompt.iter_rows()} == {"old": {"old"}, None: {"old", "young"}}
    (refused,) = table(run, "rejected").filter(pl.col("stage") == "comparisons").iter_rows(named=True)
    assert (refused["reason"], scopes[refused["row_id"]]) == ("nobody_matches", "tiny")


def test_half_a_trait_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "What?", "t": "age", "v": null}\n')
    prompts = [{"source": "file", "path": str(tmp_path / "p.jsonl"), "fields": {"trait": "t", "trait_value": "v"}}]
    with pytest.raises(InputError, match="both or neither"):
        run_stage(tmp_path / "out", "prompts", prompts=prompts)
