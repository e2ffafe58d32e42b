"""The vectors that `plan` goes by: those that any run has stored, and of a local encoder those of a few texts more. Nothing is written.

    notes: dict[str, str] = {}
    personas_of(run.resolved, peek(run, "personas", notes))     notes  ->  {"personas": "near-duplicates among personas: 40 of 200 texts …"}

A text whose vector would cost something, or take long, is taken to be like no other, and the note says so.
"""

import numpy as np

from prefloom.flows.dataset.embeddings import Half, text_key
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.steps.embeddings import vectors_of
from prefloom.flows.steps.selection import Encoder, called
from prefloom.schemas.embedder import LocalEmbedder

TRIED = 512  # texts of a table that are embedded for a plan at most: some seconds


def peek(run: Run, table: str, notes: dict[str, str]) -> Encoder | None:
    """The encoder for one table, None where nothing is to be selected. `notes` gets a line under the table's name for what is assumed."""
    section, wanted = run.resolved.recipe.embeddings, run.resolved.recipe.diversity
    if section is None or wanted is None or getattr(wanted, table) is None:
        return None
    embedder = open_embedder(section)

    def encode(texts: list[str]) -> Half:
        distinct = {text_key(text): text for text in texts}
        found = vectors_of(run, embedder.identity).held(distinct)
        missing = [key for key in distinct if key not in found]
        if missing and isinstance(section, LocalEmbedder) and len(missing) <= TRIED:
            found |= zip(missing, embedder.encode([distinct[key] for key in missing]), strict=True)
        elif missing:
            notes[table] = (
                f"near-duplicates among {table}: {len(missing):,} of {len(distinct):,} texts have no vector yet and are taken to differ"
            )
        nothing = np.zeros(next((len(vector) for vector in found.values()), 1), np.float16)
        return np.stack([found.get(text_key(text), nothing) for text in texts]) if texts else np.zeros((0, 0), np.float16)

    return Encoder(called(embedder.identity), encode)
