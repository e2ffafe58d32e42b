"""`validate` finds every kind of damage it claims to look for."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import RECORDS, validate
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash
from prefloom.schemas.manifest import Manifest


def problems(run: Path) -> dict[str, list[str]]:
    return {check.name: check.problems for check in validate(Store(str(run))) if check.problems}


def edit(run: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], part: str = "part-00000") -> None:
    """Change a table and make the manifest agree with the new bytes, as a clever forger would."""
    store = Store(str(run))
    name = next(n for n in store.list(f"{table}/{part}*.parquet") if tables.rows(store, n))
    record = RECORDS[table.split("/")[0]]
    tables.write(store, name, record, change(tables.read(store, name, record)))
    manifest = Manifest.model_validate_json((run / "manifest.json").read_bytes())
    for file in manifest.files:
        if file.path == name:
            file.bytes, file.sha256, file.rows = (run / name).stat().st_size, store.sha256(name), tables.rows(store, name)
    for entry in manifest.stages.values():
        entry.digest = content_hash([(file.path, file.sha256) for file in entry.files])
    (run / "manifest.json").write_text(manifest.model_dump_json())


def first_row(column: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(pl.col(column)).alias(column))


def test_an_untouched_dataset_is_valid(small: Path) -> None:
    assert problems(small) == {}
    assert [check.name for check in validate(Store(str(small)))] == [
        "files", "schemas", "ids", "links", "accounting", "splits", "chosen", "sources", "judgements", "labels", "preferences", "exports",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "change", "check", "words"),
    [
        ("labels", first_row("margin", pl.col("margin") + 0.01), "labels", "wrong margin"),
        ("labels", first_row("margin", pl.lit(float("nan"))), "labels", "wrong margin"),
        ("labels", first_row("probability", pl.lit(0.1234)), "labels", "wrong probability"),
        ("labels", first_row("bias", pl.col("bias") + 0.01), "labels", "wrong bias"),
        ("labels", first_row("mass", pl.lit(0.1)), "labels", "wrong mass"),
        ("labels", first_row("split", pl.lit("test_new_both")), "splits", "another split"),
        ("labels", first_row("candidate_a", pl.col("candidate_b")), "labels", "other candidates"),
        ("labels", lambda f: f.slice(1), "accounting", "labels"),
        ("labels", lambda f: pl.concat([f, f.head(1)]), "links", "two rows"),
        ("judgements", lambda f: f.slice(1), "accounting", "judgements"),
        ("judgements", first_row("log_odds", -pl.col("log_odds") - 1), "labels", "wrong margin"),
        ("judgements", first_row("persona_id", pl.lit("ffffffffffffffff")), "links", "name nothing in personas"),
        ("preferences", first_row("chosen_id", pl.col("rejected_id")), "preferences", "break chosen_id"),
        ("preferences", first_row("split", pl.lit("validation")), "preferences", "break split"),
        ("preferences", lambda f: f.slice(1), "preferences", "preferences and rejected labels"),
        ("preferences", first_row("probability", pl.lit(0.01)), "preferences", "break probability"),
        ("preferences", first_row("probability", pl.lit(float("nan"))), "preferences", "break probability"),
        ("labels", lambda f: f.with_columns(consistency=1.0), "labels", "wrong consistency"),
        ("labels", first_row("prompt_id", pl.col("prompt_id").last()), "links", "another prompt than their comparison"),
        ("judgements", first_row("mass", pl.lit(7.0)), "judgements", "no probability"),
        ("judgements", first_row("template", pl.lit("mine")), "judgements", "another template"),
        ("judgements", first_row("model", pl.lit("gpt")), "judgements", "not by the recipe's judge"),
        ("comparisons", lambda f: f.with_columns(length_only=True), "preferences", "not what the two texts say"),
        ("comparisons", first_row("persona_ids", pl.lit(["ffffffffffffffff"])), "links", "name nothing in personas"),
        ("personas", lambda f: f.with_columns(pl.col("description").shift(1, fill_value="x")), "ids", "do not say what their id says"),
        ("prompts", first_row("text", pl.lit("another task")), "ids", "do not say what their id says"),
        ("exports/trl/train", lambda f: pl.concat([f.head(1)] * f.height), "exports", "or not those"),
        ("exports/trl/train", lambda f: f.with_columns(-pl.col("margin")), "exports", "differ from their preference"),
        ("exports/trl/train", lambda f: f.with_columns(prompt=pl.col("prompt").list.tail(1)), "exports", "differ from their preference"),
        ("personas", first_row("split", pl.lit("validation")), "splits", "not the hash"),
        ("candidates", first_row("prompt_id", pl.lit("ffffffffffffffff")), "links", "name nothing in prompts"),
        ("exports/trl/train", first_row("chosen", pl.col("rejected")), "exports", "differ from their preference"),
    ],
)
def test_damage_is_found_even_if_the_manifest_was_forged(
    copy: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str
) -> None:
    edit(copy, table, change)
    found = problems(copy)
    assert check in found, found
    assert any(words in problem for problem in found[check]), found[check]


def test_rejected_rows_are_counted(copy: Path) -> None:
    edit(copy, "rejected", lambda frame: frame.slice(1), part="preferences")
    assert "rejected rows" in problems(copy)["accounting"][0]


def test_changed_missing_and_added_files_are_named(copy: Path) -> None:
    part = copy / "labels" / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    (copy / "prompts" / "part-00000.parquet").unlink()
    (copy / "personas" / "part-00000.parquet").write_bytes(b"short")
    (copy / "labels" / "part-00009.parquet").write_bytes(b"extra")
    text = "; ".join(problems(copy)["files"])
    for words in (
        "labels/part-00001.parquet has changed",
        "prompts/part-00000.parquet is missing",
        "personas/part-00000.parquet has 5 bytes",
        "not in the manifest: labels/part-00009.parquet",
    ):
        assert words in text


def test_a_table_with_other_columns_is_named(copy: Path) -> None:
    name = "prompts/part-00000.parquet"
    pl.read_parquet(copy / name).drop("domain").write_parquet(copy / name)
    manifest = json.loads((copy / "manifest.json").read_text())
    for file in manifest["stages"]["prompts"]["files"]:
        if file["path"] == name:
            file |= {"bytes": (copy / name).stat().st_size, "sha256": Store(str(copy)).sha256(name)}
    files = manifest["stages"]["prompts"]["files"]
    manifest["stages"]["prompts"]["digest"] = content_hash([(file["path"], file["sha256"]) for file in files])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert f"{name} differs from" in problems(copy)["schemas"][0]


@pytest.mark.parametrize("text", [None, "", "{}", '{"schema_version": 99}', "not json", "[]"])
def test_without_a_readable_manifest_there_is_no_dataset(copy: Path, text: str | None) -> None:
    (copy / "manifest.json").unlink() if text is None else (copy / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        validate(Store(str(copy)))


def test_a_manifest_that_points_elsewhere_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["stages"]["labels"]["files"][0]["path"] = "../../../../etc/passwd"
    del manifest["stages"]["exports"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    text = "; ".join(problems(copy)["files"])
    assert "'../../../../etc/passwd' is no path of a dataset" in text
    assert "lacks the stages exports" in text


def test_a_manifest_with_another_recipe_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["recipe"]["checks"]["labels"]["min_mass"] = 0.4
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert "fingerprint is not that of the recipe" in problems(copy)["files"][0]
    manifest["recipe"]["checks"]["labels"]["min_mass"] = "most"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"recipe\.checks\.labels\.min_mass"):
        validate(Store(str(copy)))


def test_a_forged_bill_is_noticed(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["stages"]["judgements"]["usage"]["judge"]["prompt_tokens"] -= 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert problems(copy)["accounting"] == ["judgements: the usage in the manifest is not the sum of that of its parts"]
