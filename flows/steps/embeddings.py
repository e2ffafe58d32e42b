"""Embeddings: the vectors of the run's prompts, answers and personas, one row each, beside their tables.

    embeddings: {engine: sentence-transformers}  ->  embeddings/part-00000.parquet: {"table": "prompts", "row_id": "9f0c…", "vector": […]}

A text is embedded once per model, ever: what `data/embeddings/` holds from any run is read, what it lacks is embedded and put there first.
A part has the prompts and answers of its shard, and the personas whose ids fall to it.
"""

from dataclasses import replace

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.embeddings import Batches, Filled, Vectors, text_key
from prefloom.flows.dataset.progress import ShardProgress
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines.asking import STOPPING, StoppedError
from prefloom.flows.engines.embedder import Embedder, open_embedder
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.embedder import EndpointEmbedder, LocalEmbedder
from prefloom.schemas.embedding import Embedding
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt


def embed_texts(job: ShardJob) -> ShardReport:
    """The vectors of this shard's texts."""
    if done := job.done():
        return done
    section = job.run.resolved.recipe.embeddings
    assert section is not None, "a recipe without embeddings has no such stage"
    return embed_shard(job, section)


def embed_shard(job: ShardJob, section: LocalEmbedder | EndpointEmbedder) -> ShardReport:
    """The same, by the embedder that is given."""
    rows = texts_of(job)
    filled = stored(job, open_embedder(section), rows["text"].to_list())
    vectors = pl.Series("vector", filled.vectors if rows.height else [], dtype=None if rows.height else pl.Array(pl.Float16, 1))
    keys = pl.Series("text_key", [text_key(text).hex() for text in rows["text"]], dtype=pl.String)
    frame = rows.drop("text").with_columns(keys, vectors.cast(pl.List(pl.Float16)))
    report = job.write(Embedding, frame, tables.frame(Rejected, []), considered=frame.height)
    billed = replace(report, asked=filled.embedded, from_journal=filled.held)
    job.note(billed)
    return billed


def texts_of(job: ShardJob) -> pl.DataFrame:
    """(table, row_id, text) of all that this shard embeds, sorted."""
    store = job.run.store
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "description"])
    shards = job.run.resolved.recipe.shards.prompts
    parts = [
        ("candidates", tables.read(store, job.part("candidates"), Candidate, ["candidate_id", "text"])),
        ("personas", personas.filter(pl.Series(shard_of(personas["persona_id"], shards) == job.index, dtype=pl.Boolean))),
        ("prompts", tables.read(store, job.part("prompts"), Prompt, ["prompt_id", "text"])),
    ]
    names = ["row_id", "text"]
    return pl.concat(
        part.rename(dict(zip(part.columns, names, strict=True))).select(pl.lit(table).alias("table"), *names).sort("row_id")
        for table, part in parts
    )


def stored(job: ShardJob, embedder: Embedder, texts: list[str], quiet: bool = False) -> Filled:
    """The vectors of the texts, out of the store or into it. What is embedded when the build is interrupted is kept.

    `quiet` says nothing of how far it is, in a shard that has something else to say.
    """
    distinct = len(set(texts))

    def noted(done: int) -> None:
        if not quiet:
            job.notes.write(ShardProgress(planned=len(texts), done=len(texts) * done // max(1, distinct)))

    def stream(missing: list[str]) -> Batches:
        return _until_stopped(embedder.stream(missing))

    return vectors_of(job.run, embedder.identity).fill(texts, stream, noted)


def vectors_of(run: Run, identity: str) -> Vectors:
    """The vectors that all runs beside this one share."""
    return Vectors(run.beside("embeddings"), identity)


def _until_stopped(batches: Batches) -> Batches:
    for batch in batches:
        yield batch  # stored by whoever reads on
        if STOPPING.is_set():
            raise StoppedError("the build was interrupted")
