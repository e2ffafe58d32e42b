"""`validate` finds what does not fit in every export, also where the manifest agrees with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefloom.flows.dataset import files
from prefloom.flows.dataset.invariants import Check
from prefloom.flows.dataset.invariants_exports import SYSTEMS
from prefloom.flows.dataset.invariants_fspo import Examples
from prefloom.flows.dataset.invariants_known import Known
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.prompts.examples import completion, prompt, shot
from prefloom.schemas.exports import FewShot, Mode
from prefloom.schemas.ids import content_hash
from prefloom.schemas.manifest import Manifest


@pytest.fixture
def copied(every_export: Run, tmp_path: Path) -> Path:
    shutil.copytree(every_export.folder, tmp_path / every_export.folder.name)
    return tmp_path / every_export.folder.name


def problems(run: Path) -> dict[str, str]:
    return {check.name: "; ".join(check.problems) for check in validate(Store(str(run))) if check.problems}


def accept(run: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed."""
    store, manifest = Store(str(run)), Manifest.model_validate_json((run / "manifest.json").read_bytes())
    for file in manifest.files:
        if file.path == name:
            file.bytes, file.sha256, file.rows = (run / name).stat().st_size, store.sha256(name), files.rows(store, name)
    for entry in manifest.stages.values():
        entry.digest = content_hash([(file.path, file.sha256) for file in entry.files])
    (run / "manifest.json").write_text(manifest.model_dump_json())


def edit(run: Path, pattern: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    path = next(path for path in sorted(run.glob(f"exports/{pattern}")) if files.rows(Store(str(run)), str(path.relative_to(run))) > 1)
    if path.suffix == ".parquet":
        schema = pq.read_schema(path)
        pq.write_table(change(pl.read_parquet(path, hive_partitioning=False)).to_arrow().cast(schema), path)
    elif path.suffix == ".jsonl":
        change(pl.read_ndjson(path)).write_ndjson(path)
    else:
        change(pl.read_csv(path)).write_csv(path)
    accept(run, str(path.relative_to(run)))


def turned(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.when(pl.int_range(pl.len()) == 0).then(1 - pl.col(column)).otherwise(column).alias(column))


def repeated(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.col(column).first())


def turned_choices(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns((1 - pl.col(name)).alias(name) for name in frame.columns if name.startswith("choice_"))


def said(words: str, column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.lit(words).alias(column))


def described(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("score_persona").struct.with_fields(persona_description=pl.lit("x")))


def answered_twice(frame: pl.DataFrame) -> pl.DataFrame:
    second = [name for name in frame.columns if name.startswith("response_2")]
    return frame.with_columns(pl.col(name.replace("response_2", "response_1")).alias(name) for name in second)


def test_every_export_of_an_untouched_dataset_is_valid(every_export: Run) -> None:
    assert problems(every_export.folder) == {}


@pytest.mark.parametrize(
    ("pattern", "change", "check", "words"),
    [
        ("fspo/roleplay/*/*", lambda f: f.with_columns(yw="yl", yl="yw"), "fspo", "differ from their preference"),
        ("fspo/roleplay/*/*", lambda f: f.slice(1), "fspo", "or not those"),
        ("fspo/pairs/*/*", turned("label"), "fspo", "differ from their preference"),
        ("fspo/pairs/*/*", turned("det_choice"), "fspo", "another det_choice"),
        ("fspo/pairs/*/*", lambda f: f.with_columns(label=pl.lit(0), response_x=pl.lit("x")), "fspo", "winner second in 0"),
        ("fspo/ipo/*/*", lambda f: f.with_columns(chosen="rejected"), "fspo", "differ from their preference"),
        ("fspo/ipo/*/*", lambda f: f.with_columns(shots=pl.concat_list("comparison_id")), "fspo", "question's prompt"),
        ("fspo/ipo/*/*", lambda f: f.slice(1), "fspo", "its account says"),
        ("fedbiscuit/shp_cmpr_train.jsonl", turned("choice"), "fedbiscuit", "differ from their preference"),
        ("fedbiscuit/shp_cmpr_train.jsonl", lambda f: pl.concat([f, f]), "fedbiscuit", "a preference twice"),
        ("fedbiscuit/shp_cmpr_train.jsonl", lambda f: f.slice(1), "fedbiscuit", "left out"),
        ("fedbiscuit/clients/*/*", turned("choice"), "fedbiscuit", "differ from their preference"),
        ("fedbiscuit/clients/*/*", lambda f: f.slice(1), "fedbiscuit", "rows in the folders"),
        ("neural_process/users.csv", turned_choices, "neural_process", "not their persona's"),
        ("neural_process/users.csv", lambda f: f.with_columns(pl.lit(None).alias(f.columns[2])), "neural_process", "neither 0 nor 1"),
        ("neural_process/users.csv", repeated("split"), "neural_process", "another split"),
        ("neural_process/users.csv", repeated("comparison_id"), "neural_process", "a comparison twice"),
        ("personalllm/train-*", repeated("response_1_warmth"), "personalllm", "not those of the answer"),
        ("personalllm/train-*", lambda f: f.slice(1), "personalllm", "left out"),
    ],
)
def test_a_change_is_found(copied: Path, pattern: str, change: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str) -> None:
    edit(copied, pattern, change)
    assert words in problems(copied)[check]


@pytest.mark.parametrize(
    ("pattern", "change", "check", "words"),
    [
        ("fspo/sft/*/*", said("Me.", "completion"), "fspo", "text that no id explains"),
        ("fspo/sft/*/*", lambda f: f.slice(1), "fspo", "not of the same examples"),
        ("fspo/sft/*/*", lambda f: pl.concat([f.slice(1), f.slice(1, 1)]), "fspo", "not of the same examples"),
        ("fspo/ipo/*/*", lambda f: pl.concat([f.slice(1), f.slice(1, 1)]), "fspo", "an example twice"),
        ("fspo/ipo/*/*", lambda f: f.with_columns(prompt="x " + pl.col("prompt")), "fspo", "text that no id explains"),
        ("fspo/ipo/*/*", lambda f: f.with_columns(prompt=pl.col("prompt") + pl.col("chosen")), "fspo", "text that no id explains"),
        (
            "fspo/ipo/*/*",
            lambda f: f.with_columns(pl.col("prompt").str.replace("# Example 2\n", "x\n# Example 2\n", literal=True)),
            "fspo",
            "text that no id explains",
        ),
        (
            "fspo/ipo/*/*",
            lambda f: f.with_columns(pl.col("prompt").str.replace("# Task\n", "# Task\n" + pl.col("chosen"), literal=True)),
            "fspo",
            "text that no id explains",
        ),
        ("fspo/ipo/*/*", lambda f: f.with_columns(pl.col("shots").list.reverse()), "fspo", "text that no id explains"),
        ("fspo/ipo/*/*", lambda f: f.with_columns(chosen=pl.col("chosen") + "x"), "fspo", "text that no id explains"),
        ("fspo/roleplay/*/*", said("x", "level"), "fspo", "another level"),
        ("fspo/roleplay/*/*", described, "fspo", "describe another persona"),
        ("fspo/pairs/*/*", said("x", "scorer_level"), "fspo", "another scorer_level"),
        ("fspo/pairs/*/*", said("x", "level_x"), "fspo", "level of another answer"),
        ("fspo/pairs/*/*", said("x", "model_name_y"), "fspo", "model_name of another answer"),
        ("fedbiscuit/shp_cmpr_train.jsonl", said("x", "domain"), "fedbiscuit", "differ from their preference"),
        ("fedbiscuit/shp_rlhf_train.jsonl", said("x", "category"), "fedbiscuit", "another category"),
        ("fedbiscuit/clients/*/*", lambda f: f.with_columns(label_prob_ab=pl.lit(0.01)), "fedbiscuit", "not their label's"),
        ("fedbiscuit/clients/*/*", lambda f: f.with_columns(label_prob_ba=pl.lit(0.01)), "fedbiscuit", "not their label's"),
        ("fedbiscuit/clients/*/*", lambda f: f.with_columns(~pl.col("is_swapped")), "fedbiscuit", "another is_swapped"),
        ("fedbiscuit/clients/*/*", lambda f: f.with_columns(~pl.col("held_out")), "fedbiscuit", "another held_out"),
        ("neural_process/users.csv", said("x", "response_b"), "neural_process", "other texts"),
        ("neural_process/users.csv", lambda f: f.with_columns(pl.selectors.starts_with("reward_a") + 1), "neural_process", "rewards of"),
        ("neural_process/users.csv", lambda f: f.with_columns(~pl.col("is_conflicting")), "neural_process", "another is_conflicting"),
        ("personalllm/train-*", said("x", "subset"), "personalllm", "another subset"),
        ("personalllm/train-*", answered_twice, "personalllm", "more often"),
    ],
)
def test_a_column_that_no_id_explains_is_found(
    every_export: Run, copied: Path, pattern: str, change: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str
) -> None:
    edit(copied, pattern, change)
    assert words in "; ".join(SYSTEMS[check](Store(str(copied)), every_export.resolved.recipe).problems)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_examples_of_every_mode_are_their_texts(mode: Mode, forced: bool, store: Store) -> None:
    texts = {("p", "s"): ("Why?\n", "Because.", "No idea.", "A nurse.", None), ("p", "c"): ("Who?", "Me.", " You.", "A nurse.", "A baker.")}
    told, settings = mode.endswith("described"), FewShot(mode=mode, teacher_forced=forced)
    asked = prompt(mode, [shot(mode, "Why?\n", "Because.", "No idea.")], "Who?", "A nurse." if told and forced else None)
    sides = [completion(mode, answer, who if told and not forced else None) for answer, who in (("Me.", "A nurse."), (" You.", "A baker."))]
    examples = Examples(Check("fspo", ""), Known(store), settings)
    assert [examples.side(texts, ("p", "c", ["s"]), asked, (side,)) for side in sides] == ["good", "bad"]
    assert examples.side(texts, ("p", "c", ["s"]), asked, tuple(sides)) == "bad"
    assert examples.side(texts, ("p", "c", ["s"]), asked.replace("# Task", "# Task\nx"), tuple(sides)) is None
    assert examples.side(texts, ("p", "c", ["s"]), asked, (sides[1], sides[0])) is None


def test_a_prompt_that_clients_have_seen_is_found(copied: Path) -> None:
    first = json.loads((copied / "exports/fedbiscuit/shp_cmpr_train.jsonl").read_text().splitlines()[0])
    edit(copied, "fedbiscuit/shp_rlhf_train.jsonl", lambda f: f.with_columns(instruction=pl.lit(first["instruction"])))
    assert "kept for RLHF" in problems(copied)["fedbiscuit"]


def test_a_prompt_for_rlhf_that_is_of_no_split_or_of_another_is_found(copied: Path) -> None:
    edit(copied, "fedbiscuit/shp_rlhf_train.jsonl", lambda f: f.with_columns(instruction=pl.lit("Whose is this?")))
    assert "not of its split" in problems(copied)["fedbiscuit"]


@pytest.mark.parametrize(
    "name",
    [
        "trl/train/part-00009.parquet",
        "fspo/pairs/train/part-00009.parquet",
        "fspo/pairs/more/part-00000.parquet",
        "fspo/ipo/train/part-00009.parquet",
    ],
)
def test_a_part_that_the_recipe_does_not_have_is_found_where_it_is_listed(copied: Path, name: str) -> None:
    source = next((copied / "exports" / name).parent.parent.glob("train/part-*.parquet"))
    (copied / "exports" / name).parent.mkdir(exist_ok=True)
    shutil.copy(source, copied / "exports" / name)
    manifest = Manifest.model_validate_json((copied / "manifest.json").read_bytes())
    like = next(file for file in manifest.files if file.path == source.relative_to(copied).as_posix())
    manifest.stages["exports"].files.append(like.model_copy(update={"path": f"exports/{name}"}))
    (copied / "manifest.json").write_text(manifest.model_dump_json())
    accept(copied, f"exports/{name}")
    assert "no file of this recipe" in problems(copied)["files"]


def test_a_vector_that_is_anothers_is_found(copied: Path) -> None:
    path = copied / "exports/neural_process/embeddings/data-00000-of-00001.arrow"
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    swapped = table.select([0, 2, 1]).rename_columns(table.schema.names)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(swapped.cast(table.schema))
    accept(copied, str(path.relative_to(copied)))
    assert "not those of their answer" in problems(copied)["neural_process"]


@pytest.mark.parametrize("name", ["fedbiscuit/more.txt", "fedbiscuit/shp_cmpr_more.jsonl", "fspo/pairs/train/part-00009.parquet"])
def test_a_file_that_is_not_listed_is_found(copied: Path, name: str) -> None:
    (copied / "exports" / name).write_bytes(b"")
    assert "not in the manifest" in problems(copied)["files"]


@pytest.mark.parametrize(
    "name",
    [
        "fedbiscuit/accounting-00000.json",
        "fedbiscuit/shp_cmpr_val.jsonl",
        "neural_process/users.csv",
        "neural_process/accounting-00000.json",
    ],
)
def test_a_file_that_says_nothing_is_a_problem_and_no_crash(copied: Path, name: str) -> None:
    (copied / "exports" / name).write_bytes(b"[]\n")
    accept(copied, f"exports/{name}")
    assert problems(copied).keys() & {"fedbiscuit", "neural_process"}
