"""One small dataset of the society with every export, for the tests that read it as the original systems do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefloom.flows.dataset.embeddings import Batches, Half, text_key
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.stages import MANIFEST
from prefloom.flows.engines.embedder import gather
from prefloom.flows.steps import embeddings, freshness
from tests.helpers import run_stage

CHARACTERS = ("terse", "friendly", "scholar")
LEVELS = ["positive", "negative", "concise", "verbose", "positive+concise", "negative+concise", "positive+verbose", "negative+verbose"]
WANTED: dict[str, Any] = {
    "fspo": {"few_shot": {"shots": 4, "mode": "losers"}},
    "fedbiscuit": {"rlhf": 0.2},
    "neural_process": {"most": 10},
    "personalllm": {},
}
RECIPE: dict[str, Any] = {
    "models": {name: {"engine": "society", "character": name} for name in (*CHARACTERS, "good")},
    "personas": [
        {
            "source": "template",
            "text": "This user prefers {{ level | replace('+', ' and ') }} reviews.",
            "values": {"level": LEVELS},
            "tastes": {"level": {"positive": {"warmth": 2}, "negative": {"warmth": -2}, "concise": {"length": -2}}},
        }
    ],
    "prompts": [{"source": "entities", "count": 30}],
    "candidates": {"source": "models", "models": [*CHARACTERS], "steer": {"personas": 2}},
    "embeddings": {"engine": "sentence-transformers"},
    "rewards": {"warmth": {"engine": "scorer", "property": "warmth"}, "brevity": {"engine": "scorer", "property": "length", "sign": -1}},
    "comparisons": {"per_prompt": 5, "per_persona_prompt": 5},
    "judgements": {"model": "good"},
    "splits": {
        "validation": 0.1,
        "test": 0.2,
        "by_trait": {"level": dict.fromkeys(LEVELS[:4], "train") | dict.fromkeys(LEVELS[4:], "test")},
    },
    "exports": WANTED,
}


class Letters:
    """An embedder without weights."""

    identity, dimension = "letters@1", 4

    def stream(self, texts: Sequence[str]) -> Batches:
        for index, text in enumerate(texts):
            yield [index], np.frombuffer(text_key(text)[:4], np.uint8).astype(np.float16)[None]

    def encode(self, texts: Sequence[str]) -> Half:
        return gather(self, texts)


@contextmanager
def by_letters() -> Iterator[None]:
    """Texts are embedded without weights."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (embeddings, freshness):
            patch.setattr(module, "open_embedder", lambda section: Letters())
        yield


def exported(folder: Path, **changes: Any) -> Run:
    """A finished dataset with every export."""
    with by_letters():
        run = run_stage(folder, "exports", **(RECIPE | changes))
        whole = freshness.composed(run, freshness.materials(run))
    assert whole
    run.store.create(MANIFEST, whole)
    return run
