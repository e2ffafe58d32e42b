"""Every record survives Parquet unchanged, and says what its columns mean."""

import polars as pl
import pyarrow as pa
import pytest
from pydantic import Field, ValidationError

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.embedding import Embedding
from prefloom.schemas.label import Judgement, Label, Message, Preference, Rejected, TrlExample
from prefloom.schemas.persona import Persona, Trait
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.record import Record

ODD = 'ünï "quoted" \u0000 \u202e 🦉\nline'
EXAMPLES: list[Record] = [
    Persona(persona_id="0a", description=ODD, traits=[Trait(name="age", value="old")], source="grid", source_id=None, split="train"),
    Prompt(prompt_id="0b", text=ODD, domain="", source="file", source_id="7", split="test"),
    Candidate(
        candidate_id="0c",
        prompt_id="0b",
        text=ODD,
        model="m",
        view=None,
        sample=0,
        temperature=None,
        seed=3,
        finish_reason="stop",
        source="models",
    ),
    Comparison(
        comparison_id="0d",
        prompt_id="0b",
        first_id="0c",
        second_id="0e",
        order="ab",
        length_only=False,
        inclusion=0.5,
        persona_ids=["0a", "0f"],
    ),
    Judgement(persona_id="0a", comparison_id="0d", prompt_id="0b", order="ba", template="t", repeat=0, model="j", log_odds=-1.25, mass=0.9),
    Label(
        persona_id="0a",
        comparison_id="0d",
        prompt_id="0b",
        candidate_a="0c",
        candidate_b="0e",
        margin=1.3,
        probability=0.7858,
        bias=0.6,
        mass=0.9,
        consistency=1.0,
        agreement=0.0,
        confidence=1.1,
        judgements=2,
        split="train",
    ),
    Preference(
        persona_id="0a",
        comparison_id="0d",
        prompt_id="0b",
        chosen_id="0c",
        rejected_id="0e",
        margin=1.3,
        probability=0.7858,
        confidence=1.1,
        p_generic=0.61,
        voters=3,
        minority_share=0.3333,
        entropy=0.6365,
        split="train",
    ),
    Rejected(stage="labels", kind="check", reason="r", row_id="0d", persona_id=None, duplicate_of=None, detail=ODD, row="{}"),
    TrlExample(
        prompt=[Message(role="user", content=ODD)],
        chosen=[Message(role="assistant", content="a")],
        rejected=[Message(role="assistant", content="b")],
        margin=1.0,
        persona_id="0a",
        comparison_id="0d",
    ),
    Embedding(table="prompts", row_id="0b", text_key="0a", vector=[0.5, -0.25, 65504.0]),
]


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: type(row).__name__)
def test_a_row_survives_parquet(row: Record, store: Store) -> None:
    record = type(row)
    tables.write(store, "t/part-00000.parquet", record, tables.frame(record, [row, row]))
    assert [record(**found) for found in tables.read(store, "t/*.parquet", record).iter_rows(named=True)] == [row, row]
    assert tables.schema(store, "t/part-00000.parquet").equals(record.arrow_schema(), check_metadata=False)


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: type(row).__name__)
def test_every_column_is_described(row: Record) -> None:
    assert all(field.metadata[b"description"] for field in type(row).arrow_schema())


def test_an_empty_table_keeps_its_columns(store: Store) -> None:
    tables.write(store, "t/part-00000.parquet", Prompt, tables.frame(Prompt, []))
    assert tables.read(store, "t/*.parquet", Prompt).columns == list(Prompt.model_fields)


def test_nulls_are_refused_where_the_record_has_none() -> None:
    frame = tables.frame(Prompt, EXAMPLES[1:2]).with_columns(pl.lit(None, pl.String).alias("text"))
    with pytest.raises(ValueError, match="field 'text' with null values"):
        tables.to_arrow(Prompt, frame)


def test_rows_are_strict_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Trait(name="a", value="b", extra="c")  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        EXAMPLES[0].split = "test"  # type: ignore[attr-defined]


def test_what_has_no_column_type_is_an_error() -> None:
    class Bad(Record):
        field: bytes = Field(description="no such column type")

    with pytest.raises(TypeError, match="no Arrow type"):
        Bad.arrow_schema()


def test_nullable_follows_the_annotation() -> None:
    schema = Candidate.arrow_schema()
    assert schema.field("view").nullable
    assert not schema.field("text").nullable
    assert Comparison.arrow_schema().field("persona_ids").type == pa.list_(pa.field("element", pa.string(), nullable=False))
