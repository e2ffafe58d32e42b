"""Choices of people are read as they were meant, or refused by file, row and field."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefloom.flows.steps.audit import against_gold
from prefloom.flows.steps.audit_gold import GoldRow, read, targets
from prefloom.schemas.errors import InputError
from tests.auditing import LABELS, evidence
from tests.command import prefloom


def row(number: int, choice: str | None = "a", chosen: str | None = None, persona: str | None = None) -> GoldRow:
    return GoldRow(f"line {number}", f"comparison {number}", None, choice, chosen, persona)


def lay(folder: Path, text: str, name: str = "gold.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_and_both_ways_to_name_a_comparison(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"candidate_a": ["a1", "b2"], "candidate_b": ["b1", "a2"], "chosen_id": ["b1", "a2"], "annotator": ["x", "y"]})
    path = tmp_path / f"gold.{ending}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[ending](path)  # type: ignore[operator]
    found = read(path)
    assert [(r.pair, r.chosen, r.persona) for r in found] == [(("a1", "b1"), "b1", None), (("a2", "b2"), "a2", None)]
    target, counts, asked = targets(found, path, evidence())
    assert target[40:80].tolist() == [-1.0] * 40
    assert target[80:120].tolist() == [1.0] * 40
    assert np.isnan(target[:40]).all()
    assert (counts, asked) == ({"rows": 2, "elsewhere": 0, "for_everyone": 2, "for_one_person": 0}, 80)


def test_a_choice_of_this_person_comes_before_one_for_everyone(tmp_path: Path) -> None:
    rows = [row(0), row(0, "b", persona="persona 7"), row(1, "b"), row(1, "b"), row(1, "a"), row(2, "a"), row(2, "b")]
    rows += [row(3, persona="stranger"), row(5000)]
    target, counts, asked = targets(rows, tmp_path, evidence())
    assert target[:40].tolist() == [-1.0 if i == 7 else 1.0 for i in range(40)]
    assert target[40] == -1, "two of three"
    assert target[80] == 0, "torn"
    assert np.isnan(target[120:]).all()
    assert (counts["elsewhere"], counts["for_one_person"], asked) == (2, 1, 120)


def test_gold_gives_accuracy_and_leaves_out_what_needs_utilities(tmp_path: Path) -> None:
    margin = np.where(np.arange(LABELS) % 40 < 10, -1.0, 1.0)
    path = lay(tmp_path, "comparison_id,choice\n" + "".join(f"comparison {i},a\n" for i in range(50)))
    found = against_gold(evidence(margin), read(path), path)
    assert found["accuracy"]["prompts"]["value"] == 0.75
    assert (found["coverage"]["labels"], found["coverage"]["asked"]) == (2000, 2000)
    assert found["choices"]["for_everyone"] == 50
    assert found["file"] == "gold.csv"
    assert found.keys().isdisjoint({"regret", "length", "common", "by_difference", "clearly_better", "clusters"})
    assert found["bias"].keys() == {"mean", "sd"}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("comparison_id,choice\nc1,c\n", "line 2, column 'choice'", "expected 'a' or 'b'"),
        ("comparison_id,choice\nc1,A\n", "line 2, column 'choice'", "expected 'a' or 'b'"),
        ("comparison_id,choice\nc1,a\nc2,\n", "line 3, column 'choice'", "the answer that was chosen"),
        ("comparison_id,chosen_id\nc1,\n", "line 2, column 'chosen_id'", "the answer that was chosen"),
        ("comparison_id,choice\n,a\n", "line 2, column 'comparison_id'", "the id of a comparison"),
        ("candidate_a,candidate_b,choice\nx,,a\n", "line 2, column 'candidate_b'", "the id of a candidate"),
        ("candidate_a,candidate_b,choice\nx,x,a\n", "line 2, column 'candidate_b'", "two candidates"),
        ("candidate_a,candidate_b,choice\ny,x,a\n", "line 2, column 'candidate_a'", "chosen_id"),
        ("candidate_a,choice\nx,a\n", "header", "candidate_b"),
        ("comparison_id,winner\nc1,a\n", "header", "no column 'choice'"),
        ("choice\na\n", "header", "no column 'comparison_id'"),
        ("comparison_id,choice\nc1\n", "line 2", "2, as many as the header has"),
        ("comparison_id;choice\nc1;a\n", "header", "commas"),
        ("comparison_id,comparison_id,choice\nc1,c2,a\n", "header", "twice"),
        ("comparison_id,choice\n", "", "no rows"),
        ('comparison_id,choice\n"c1,a\n', "", "CSV"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, place: str, said: str) -> None:
    path = lay(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {place}")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gold.txt", b"x"),
        ("gold.jsonl", b'{"comparison_id": "c1", "choice": ["a"]}\n'),
        ("gold.jsonl", b"[1]\n"),
        ("gold.jsonl", b'{"comparison_id": "c1", "choice": "a"}\n{"comparison_id": "c2"}\n'),
        ("gold.jsonl", b"{\xff}\n"),
        ("gold.csv", b"comparison_id,choice\n\xff\xfe,a\n"),
        ("gold.parquet", b"PAR1 not at all"),
        ("missing.csv", None),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read(tmp_path / name)


def test_a_candidate_that_was_not_compared_and_a_choice_that_contradicts(tmp_path: Path) -> None:
    for wrong, said in ((row(1, None, "b2"), "expected one of the two"), (row(1, "a", "b1"), "another answer than in chosen_id")):
        with pytest.raises(InputError, match="line 1") as caught:
            targets([row(0), wrong], tmp_path, evidence())
        assert said in str(caught.value)
    with pytest.raises(InputError, match="none of them about a label of this dataset"):
        targets([row(5000)], tmp_path, evidence())


def test_the_command_holds_labels_against_a_file(copy: Path, tmp_path: Path) -> None:
    labels = pl.read_parquet(copy / "labels/*.parquet").filter(pl.col("margin") != 0)
    choice = pl.when(pl.col("margin") > 0).then(pl.lit("a")).otherwise(pl.lit("b")).alias("choice")
    path = tmp_path / "people.csv"
    labels.head(200).select("comparison_id", choice, "persona_id").write_csv(path)
    found = json.loads(prefloom("audit", str(copy), "--gold", str(path), "--json").stdout)
    assert found["gold"]["accuracy"]["prompts"]["value"] == 1.0
    assert (found["gold"]["coverage"]["labels"], found["gold"]["file"]) == (200, "people.csv")
    assert str(tmp_path) not in (copy / "audit.json").read_text(), "where the file lies is nobody's business"
    labels.head(1).select("comparison_id", choice).write_csv(path)
    shown = prefloom("audit", str(copy), "--gold", str(path)).stdout
    assert "1 without a persona_id, each held to be the choice of every persona" in " ".join(shown.split())
    path.write_text("comparison_id,choice\nc1,\x1b[2J\n")
    refused = prefloom("audit", str(copy), "--gold", str(path), check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "line 2, column 'choice'" in refused.stderr
    assert "\x1b" not in refused.stderr
