"""What is near goes, what is chosen is balanced and far apart, and more of it begins with the same."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.coverage import coverage, divergences
from prefloom.flows.dataset.invariants_diversity import diversity
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.validate import validate
from prefloom.flows.engines import keep_truth
from prefloom.flows.engines.asking import STOPPING, StoppedError
from prefloom.flows.steps import freshness
from prefloom.flows.steps.audit import audit
from prefloom.schemas.errors import InputError
from tests.flows.engines.word_embedder import LONGEST, Words, install
from tests.flows.steps.test_candidates import jsonl
from tests.helpers import make, run_stage, table

LOCAL = {"engine": "sentence-transformers"}
BARE = {"personas": None, "prompts": None, "candidates": None}
SOME = "apple bridge candle dragon engine feather garden hammer island jacket kettle ladder mirror needle orange pencil"
THINGS = SOME.split(" ")


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    return install(monkeypatch)


def described(number: int, mood: str = "quiet") -> str:
    """Ten words, of which one says the number: any two have a cosine of .9 at most, and .8 with another mood."""
    return f"somebody {mood} who reads much and likes {THINGS[number % 16]} things{number} {'x' * (1 + number)}"


def personas(tmp_path: Path, rows: list[dict[str, Any]], traits: list[str] | None = None, **settings: Any) -> Run:
    tmp_path.mkdir(exist_ok=True)
    source = {"source": "file", "path": jsonl(tmp_path / "people.jsonl", rows), "fields": {"traits": traits or []}}
    return run_stage(tmp_path / "out", "personas", personas=[source], embeddings=LOCAL, diversity=BARE | {"personas": settings})


def test_a_near_duplicate_names_the_row_it_repeats(tmp_path: Path) -> None:
    rows = [{"description": text} for text in ("one two three four five", "five one two three four", "one two three four six", "b c d e f")]
    run = personas(tmp_path, rows, near_duplicate=0.85)
    kept, rejected = table(run, "personas"), table(run, "rejected")
    assert kept.height == 3, "four of five words are a cosine of .8"
    assert rejected.select("reason", "detail").rows() == [("near_duplicate", "cosine 1.0000 (words), threshold 0.85")]
    assert rejected["duplicate_of"][0] in set(kept["persona_id"])
    tighter = personas(tmp_path / "more", rows, near_duplicate=0.75)
    assert table(tighter, "personas").height == 2
    assert set(table(tighter, "rejected")["duplicate_of"]) <= set(table(tighter, "personas")["persona_id"])


def test_a_larger_count_keeps_those_that_were_chosen(tmp_path: Path) -> None:
    rows = [{"description": described(n), "mood": "ab"[n % 2]} for n in range(60)]
    chosen = [set(table(personas(tmp_path / str(n), rows, ["mood"], count=n), "personas")["persona_id"]) for n in (5, 20, 60)]
    assert [len(ids) for ids in chosen] == [5, 20, 60]
    assert chosen[0] < chosen[1] < chosen[2]
    rejected = table(Run(next((tmp_path / "5" / "out" / "runs").iterdir())), "rejected")
    assert set(rejected["reason"]) == {"less_diverse"}
    named = [
        re.fullmatch(r"cosine (0\.\d{4}) \(words\) with the nearest that was chosen, (\w{16})", detail) for detail in rejected["detail"]
    ]
    assert {match[2] for match in named if match} <= chosen[0]
    assert all(named)
    assert rejected["duplicate_of"].null_count() == rejected.height


def test_the_farthest_are_chosen_of_those_that_differ(tmp_path: Path, words: Words) -> None:
    texts = [described(n, "ab"[n % 3 == 0]) for n in range(40)] + [described(n, "ab"[n % 3 == 0]) + " so" for n in range(40)]
    run = personas(tmp_path, [{"description": text} for text in texts], near_duplicate=0.93, count=12)
    kept, rejected = table(run, "personas"), table(run, "rejected")
    assert rejected["reason"].value_counts().sort("reason").rows() == [("less_diverse", 28), ("near_duplicate", 40)]

    def unit(text: str) -> Any:
        vector = words.encode([text])[0].astype(float)
        return vector / np.linalg.norm(vector)

    chosen = {row: unit(text) for row, text in kept.select("persona_id", "description").iter_rows()}
    likest = []
    for row in rejected.filter(pl.col("reason") == "less_diverse").iter_rows(named=True):
        cosines = {name: float(vector @ unit(json.loads(row["row"])["description"])) for name, vector in chosen.items()}
        said, named = float(row["detail"].split()[1]), row["detail"].split()[-1]
        assert said == pytest.approx(max(cosines.values()), abs=1e-3)
        assert cosines[named] == pytest.approx(said, abs=1e-3)
        likest.append(said)
    apart = np.array(list(chosen.values())) @ np.array(list(chosen.values())).T - 2 * np.eye(12)
    assert apart.max() <= max(likest) + 1e-3, "no two chosen are nearer than somebody left out is to those chosen"


def test_more_of_a_source_costs_no_earlier_row_as_a_near_duplicate(tmp_path: Path) -> None:
    grid = [{"source": "grid", "count": n} for n in (40, 120)]
    settings = {"embeddings": LOCAL, "diversity": BARE | {"personas": {"near_duplicate": 0.8}}}
    few, many = (
        set(table(run_stage(tmp_path, "personas", personas=[g], name=f"n{g['count']}", **settings), "personas")["persona_id"]) for g in grid
    )
    assert len(few) < 40
    assert few < many


def test_the_choice_is_balanced_or_meets_its_target(tmp_path: Path) -> None:
    rows = [
        {"description": described(n, "ab"[n % 10 == 0]), "camp": "ab"[n % 10 == 0], "age": None if n % 7 == 0 else "any"}
        for n in range(100)
    ]

    def camps(folder: str, **settings: Any) -> dict[str, int]:
        frame = table(personas(tmp_path / folder, rows, ["camp", "age"], count=12, near_duplicate=1.0, **settings), "personas")
        named = frame.select(pl.col("traits").explode()).unnest("traits").filter(pl.col("name") == "camp")
        return dict(named.group_by("value").len().iter_rows())

    assert camps("equal", strata=["camp"]) == {"a": 6, "b": 6}
    assert camps("all") == {"a": 6, "b": 6}
    assert camps("aimed", target={"camp": {"a": 0.75, "b": 0.25}}) == {"a": 9, "b": 3}
    assert camps("nobody", target={"camp": {"a": 0.25, "b": 0.25, "c": 0.5}}) == {"a": 6, "b": 6}, "as far as somebody has the value"
    with pytest.raises(InputError, match=r"diversity\.personas: found the trait 'cmap', which none of them has; did you mean 'camp'"):
        camps("unknown", strata=["cmap"])
    with pytest.raises(InputError, match=r"diversity\.personas\.target: found no value of 'camp' that any of them has"):
        camps("other", target={"camp": {"x": 1.0}})


def test_all_alike(tmp_path: Path) -> None:
    alike = [{"description": " ".join(THINGS[n:] + THINGS[:n])} for n in range(16)]  # other texts, the same vector
    run = personas(tmp_path / "all", alike)
    assert table(run, "personas").height == 1
    assert set(table(run, "rejected")["duplicate_of"]) == set(table(run, "personas")["persona_id"])
    with pytest.raises(InputError, match=r"diversity\.personas\.count: found 1 personas left of 16 by near_duplicate: 0\.95; expected 2"):
        personas(tmp_path / "two", alike, count=2)


def test_one_row_and_rows_of_nothing(tmp_path: Path, words: Words) -> None:
    assert table(personas(tmp_path / "one", [{"description": "alone"}], count=1), "personas").height == 1
    rows = [{"description": text} for text in ("", "   ", "?!", "…", "a word")]  # two that a reader sees and the encoder does not
    run = personas(tmp_path / "none", rows)
    assert sorted(table(run, "personas")["description"]) == ["?!", "a word", "…"]
    assert set(table(run, "rejected")["reason"]) == {"empty"}
    assert "" not in words.texts


def test_long_texts_are_near_as_far_as_the_encoder_reads(tmp_path: Path) -> None:
    opening = " ".join(f"word{n}" for n in range(LONGEST)) + " "
    rows = [{"description": opening + letter * 100_000} for letter in "ab"] + [{"description": "c " * 50_000}]
    run = personas(tmp_path, rows)
    assert table(run, "personas").height == 2
    assert table(run, "rejected")["detail"].to_list() == ["cosine 1.0000 (words), threshold 0.95"]


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, words: Words) -> None:
    words.spoiled = "c"
    with pytest.raises(InputError, match="test/words@1: found a vector that 16-bit floats cannot hold; expected finite numbers"):
        personas(tmp_path, [{"description": letter} for letter in "abcd"])


def test_what_was_embedded_before_an_interruption_is_kept(tmp_path: Path, words: Words) -> None:
    rows = [{"description": described(n)} for n in range(9)]
    STOPPING.set()
    with pytest.raises(StoppedError):
        personas(tmp_path, rows)
    STOPPING.clear()
    assert len(words.texts) == 1
    assert table(personas(tmp_path, rows), "personas").height == 9
    assert sorted(words.texts) == sorted(described(n) for n in range(9)), "none of them twice"


PROMPTS = [
    {"q": "1", "text": "How do I boil an egg", "domain": "kitchen"},
    {"q": "2", "text": "how do i BOIL an egg", "domain": "kitchen"},  # the same
    {"q": "3", "text": "An egg: how do I boil", "domain": "kitchen"},  # near
    {"q": "4", "text": "AN EGG: how do I boil", "domain": "kitchen"},  # the same as what is near
    {"q": "5", "text": "Where is Peru", "domain": "places"},
]


def answered(tmp_path: Path, diversity: dict[str, Any], rows: list[dict[str, Any]], link: str = "prompt_id") -> Run:
    tmp_path.mkdir(exist_ok=True)
    prompts = [{"source": "file", "path": jsonl(tmp_path / "p.jsonl", PROMPTS), "fields": {"text": "text", "id": "q", "domain": "domain"}}]
    fields = {link: "q" if link == "prompt_id" else "task", "model": "by"}
    source = {"source": "file", "path": jsonl(tmp_path / "a.jsonl", rows), "fields": fields}
    asked = {"prompts": prompts, "candidates": source, "embeddings": LOCAL, "diversity": BARE | diversity}
    return run_stage(tmp_path / "out", "candidates", **asked)


@pytest.mark.parametrize(("link", "lost", "because_near"), [("prompt_id", 2, 2), ("prompt", 3, 1)])
def test_an_answer_to_a_near_duplicate_is_no_answer_to_the_prompt_that_stayed(
    tmp_path: Path, link: str, lost: int, because_near: int
) -> None:
    rows = [{"q": p["q"], "task": p["text"], "by": "me", "text": f"answer to {p['q']}"} for p in PROMPTS]
    run = answered(tmp_path, {"prompts": {}}, rows, link)
    prompts, rejected = table(run, "prompts"), table(run, "rejected")
    assert prompts.height == 2
    assert "5" in set(prompts["source_id"])
    assert rejected.filter(pl.col("reason") == "near_duplicate")["stage"].to_list() == ["prompts"]
    gone = rejected.filter(pl.col("reason").is_in(["unknown_prompt", "prompt_left_out"]))
    details = gone["detail"].to_list()
    assert gone.filter(pl.col("reason") == "prompt_left_out").height == because_near
    said = "its prompt was left out: near_duplicate, cosine 1.0000 (words), threshold 0.85"
    assert (len(details), details.count(said)) == (lost, because_near), "an id that repeats exactly follows; another text never does"
    assert set(table(run, "candidates")["prompt_id"]) == set(prompts["prompt_id"])


def test_prompts_are_balanced_over_domains(tmp_path: Path) -> None:
    rows = [{"text": described(n, "ab"[n % 5 == 0]), "domain": "ab"[n % 5 == 0]} for n in range(50)]
    source = {"source": "file", "path": jsonl(tmp_path / "p.jsonl", rows), "fields": {"domain": "domain"}}
    wanted = BARE | {"prompts": {"near_duplicate": 0.99, "count": 10}}
    run = run_stage(tmp_path / "out", "prompts", prompts=[source], embeddings=LOCAL, diversity=wanted)
    assert table(run, "prompts")["domain"].value_counts().sort("domain").rows() == [("a", 5), ("b", 5)]
    assert set(table(run, "rejected")["reason"]) == {"less_diverse"}


def test_models_come_before_more_samples_of_one(tmp_path: Path) -> None:
    rows = [
        {"q": "1", "by": "ann", "text": "boil it for nine minutes"},
        {"q": "1", "by": "ann", "text": "nine minutes: boil it, for eve"},  # ann's second is near eve's first …
        {"q": "1", "by": "eve", "text": "for eve: boil it nine minutes"},
        {"q": "5", "by": "ann", "text": "boil it for nine minutes"},  # … and what answers another prompt is near nobody
    ]
    run = answered(tmp_path / "near", {"candidates": {"near_duplicate": 0.99}}, rows)
    kept, rejected = table(run, "candidates"), table(run, "rejected").filter(pl.col("stage") == "candidates")
    assert sorted(kept.select("model", "sample").rows()) == [("ann", 0), ("ann", 0), ("eve", 0)]
    (gone,) = rejected.iter_rows(named=True)
    assert gone["reason"] == "near_duplicate"
    assert gone["duplicate_of"] == kept.filter(pl.col("model") == "eve")["candidate_id"][0]
    same = [row | {"text": "exactly this"} if row["q"] == "1" and "eve" in row["text"] else row for row in rows]
    exact = answered(tmp_path / "same", {"candidates": {}}, same)
    assert sorted(table(exact, "candidates").select("model", "sample").rows()) == [("ann", 0), ("ann", 0), ("eve", 0)]


def test_written_answers_are_sifted_too_and_no_text_is_embedded_twice(tmp_path: Path, words: Words) -> None:
    source = {"source": "models", "models": ["terse", "judge"], "samples": 3}
    settings: dict[str, Any] = {"candidates": source, "embeddings": LOCAL, "diversity": BARE | {"candidates": {"near_duplicate": 0.8}}}
    run = run_stage(tmp_path, "embeddings", **settings)
    kept, rejected = table(run, "candidates"), table(run, "rejected")
    assert kept.height + rejected.height == 10 * 2 * 3
    near = rejected.filter(pl.col("reason") == "near_duplicate")
    assert near.height > 5
    homes = dict(kept.select("candidate_id", "prompt_id").iter_rows())
    assert [homes[first] for first in near["duplicate_of"]] == near["row"].str.json_path_match("$.prompt_id").to_list()
    assert len(words.texts) == len(set(words.texts)), "the embeddings stage found them"
    again = run_stage(tmp_path / "again", "embeddings", **settings)
    for name in run.store.list("*/*.parquet"):
        assert run.store.read(name) == again.store.read(name)


def test_those_chosen_of_planted_people_are_audited(tmp_path: Path) -> None:
    source = {"source": "society", "count": 80}
    chosen = BARE | {"personas": {"count": 30, "strata": ["age"]}}
    run = run_stage(
        tmp_path, "preferences", personas=[source], prompts=[{"source": "seeds", "count": 6}], embeddings=LOCAL, diversity=chosen
    )
    keep_truth(run)
    make(run, "exports")
    composed = freshness.composed(run, freshness.materials(run))
    assert composed
    run.store.create(stages.MANIFEST, composed)
    assert [check.problems for check in validate(run.store) if check.problems] == []
    ages = table(run, "personas").select(pl.col("traits").explode()).unnest("traits").filter(pl.col("name") == "age")
    assert sorted(ages["value"].value_counts()["count"]) == [10, 10, 10]
    figures = audit(run)["truth"]
    assert figures["coverage"]["people"] == 30
    assert figures["accuracy"]["prompts"]["value"] > 0.6
    (planted,) = (tmp_path / "truth").rglob("people.parquet")
    assert pl.read_parquet(planted).height == 80, "the truth is about all of them, chosen or not"


def test_the_shipped_recipe_is_as_diverse_as_it_says(tmp_path: Path) -> None:
    run = Run.create(tmp_path, resolve("diverse"))
    run.store_recipe()
    for name in ("personas", "prompts", "candidates", "embeddings"):
        make(run, name)
    wanted = run.resolved.recipe.diversity
    assert wanted
    assert wanted.personas
    assert run.resolved.recipe.pilot
    data = {name: table(run, name) for name in ("personas", "prompts", "candidates", "embeddings", "rejected")}
    assert diversity(data, wanted).problems == []
    assert (data["personas"].height, data["prompts"].height, data["candidates"].height) == (120, 40, 320)
    assert data["prompts"]["domain"].value_counts()["count"].max() - data["prompts"]["domain"].value_counts()["count"].min() <= 1
    spread = divergences(coverage(data["personas"], data["rejected"], run.resolved.recipe))
    assert dict(spread.select("trait", "total_variation").iter_rows())["age"] < 0.01
    assert spread["total_variation"].max() < 0.1
