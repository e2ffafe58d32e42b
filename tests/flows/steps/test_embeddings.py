"""A run's vectors stand beside its tables, row for row; no text is embedded that any run embedded before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.embeddings import Batches, Half, of_run, text_key
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport, merge
from prefloom.flows.engines.asking import STOPPING, StoppedError
from prefloom.flows.engines.embedder import gather
from prefloom.flows.steps import embeddings as step
from prefloom.schemas.embedder import LocalEmbedder
from prefloom.schemas.embedding import Embedding
from tests.helpers import run_stage, table

SECTION = LocalEmbedder(engine="sentence-transformers")


class Letters:
    """An embedder without weights."""

    identity, dimension = "letters@1", 3

    def __init__(self) -> None:
        self.calls = 0

    def stream(self, texts: Sequence[str]) -> Batches:
        for index, text in enumerate(texts):
            self.calls += 1
            yield [index], np.frombuffer(text_key(text)[:3], np.uint8).astype(np.float16)[None]

    def encode(self, texts: Sequence[str]) -> Half:
        return gather(self, texts)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    embedder = Letters()
    monkeypatch.setattr(step, "open_embedder", lambda section: embedder)
    return embedder


def embed(run: Run) -> ShardReport:
    parts = run.resolved.recipe.shards.prompts
    return merge([step.embed_shard(ShardJob(str(run.folder), "embeddings", index, "hash"), SECTION) for index in range(parts)])


def test_every_row_of_three_tables_has_its_vector(tmp_path: Path, letters: Letters) -> None:
    run = run_stage(tmp_path, "candidates")
    report = embed(run)
    count = 0
    for name, key, column in (
        ("prompts", "prompt_id", "text"),
        ("candidates", "candidate_id", "text"),
        ("personas", "persona_id", "description"),
    ):
        texts = dict(table(run, name).select(key, column).iter_rows())
        ids, vectors = of_run(run.store, name)
        assert sorted(ids) == sorted(texts)
        assert vectors.dtype == np.float16
        assert (vectors == letters.encode([texts[row] for row in ids])).all()
        count += len(ids)
    assert (report.considered, report.kept) == (count, count)
    assert of_run(run.store, "none")[1].shape == (0, 0)
    parts = [(run.folder / "embeddings" / f"part-{index:05d}.parquet").read_bytes() for index in range(2)]
    assert tables.schema(run.store, "embeddings/part-00000.parquet").equals(Embedding.arrow_schema())

    calls = letters.calls
    for path in (run.folder / "embeddings").glob("part-*"):
        path.unlink()
    again = embed(run)
    assert (letters.calls, again.asked, again.from_journal > 0) == (calls, 0, True)
    assert parts == [(run.folder / "embeddings" / f"part-{index:05d}.parquet").read_bytes() for index in range(2)]


def test_another_run_embeds_only_what_is_new(tmp_path: Path, letters: Letters) -> None:
    embed(run_stage(tmp_path, "candidates"))
    before = letters.calls
    larger = run_stage(tmp_path, "candidates", personas=[{"source": "grid", "count": 25}], name="larger")
    assert embed(larger).asked == letters.calls - before == 5


def test_an_interrupted_build_keeps_what_was_embedded(tmp_path: Path, letters: Letters) -> None:
    run = run_stage(tmp_path, "candidates")
    STOPPING.set()
    try:
        with pytest.raises(StoppedError):
            embed(run)
    finally:
        STOPPING.clear()
    assert letters.calls == 1
    report = embed(run)
    assert (report.from_journal, letters.calls) == (1, report.asked + 1)


def test_a_shard_without_texts_is_an_empty_part(tmp_path: Path, letters: Letters) -> None:
    run = run_stage(tmp_path, "candidates", shards={"prompts": 64, "personas": 1})
    report = embed(run)
    assert report.kept == 20 + sum(table(run, name).height for name in ("prompts", "candidates"))
    assert table_sizes(run)[0] == 0


def table_sizes(run: Run) -> list[int]:
    return sorted(tables.rows(run.store, name) for name in run.store.list("embeddings/part-*.parquet"))
