"""Evidence made to order, and tastes planted by hand, for the tests of audits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.audit_evidence import Evidence, Floats, Names

LABELS = 4000
DICE = np.random.default_rng(7)
MARGIN = DICE.normal(0, 2, LABELS).round(4)


@dataclass
class Planted:
    """A truth in which the persona with index i likes a text by `tastes[i]` times its number, which its last word says."""

    tastes: Sequence[float] = (1.0,) * 40
    persona_ids: list[str] = field(default_factory=lambda: [f"persona {i}" for i in range(40)])
    society: str = "by hand"
    asked: int = 0

    @property
    def clusters(self) -> dict[str, int]:
        return {name: i % 2 for i, name in enumerate(self.persona_ids)}

    def utilities(self, persona_ids: Sequence[str], texts: Sequence[str]) -> Floats:
        self.asked += 1
        wanted = np.array([self.tastes[self.persona_ids.index(name)] for name in persona_ids])
        return np.outer(wanted, [float(text.split()[-1]) for text in texts])


class Lengths:
    """A truth for real datasets: everybody likes long answers, half of the people a little less."""

    society = "lengths"

    def __init__(self, persona_ids: list[str]) -> None:
        self.persona_ids = persona_ids
        self.clusters = {name: i % 2 for i, name in enumerate(persona_ids)}

    @classmethod
    def of(cls, run: Run) -> "Lengths":
        from tests.helpers import table

        return cls(table(run, "personas")["persona_id"].to_list())

    def utilities(self, persona_ids: Sequence[str], texts: Sequence[str]) -> Floats:
        return np.outer([1 + 0.5 * self.clusters[name] for name in persona_ids], [len(text) for text in texts])


def evidence(margin: Floats = MARGIN, **changes: Any) -> Evidence:
    """Labels of 40 personas on 100 prompts, one comparison each; read once in each order, without bias or noise."""
    n = len(margin)
    persona, prompt = np.arange(n) % 40, np.arange(n) // 40
    prompts = int(prompt.max(initial=0)) + 1
    names = Names(
        personas=[f"persona {i}" for i in range(40)],
        descriptions=[f"somebody {i}" for i in range(40)],
        comparisons=[f"comparison {i}" for i in range(prompts)],
        pairs=[(f"a{i}", f"b{i}") for i in range(prompts)],
        texts=[str(i) for i in range(2 * prompts)],
        domains=["home", "work"],
        splits=["test", "train"],
        reasons=["inconsistent", "undecided"],
        readers=["judge/pairwise"],
    )
    rows: dict[str, Any] = {
        "persona": persona,
        "comparison": prompt,
        "prompt": prompt,
        "a": 2 * prompt,
        "b": 2 * prompt + 1,
        "domain": prompt % 2,
        "split": (persona > 3).astype(np.int64),
        "reason": np.full(n, -1),
        "kept": np.ones(n, dtype=bool),
        "margin": margin,
        "confidence": np.abs(margin),
        "probability": 1 / (1 + np.exp(-margin)),
        "bias": np.zeros(n),
        "generic": np.full(n, np.nan),
        "longer": np.ones(n),
        "others": np.zeros(n),
        "calibrated": np.full(n, np.nan),
        "reads": np.stack([margin, margin], axis=1)[:, None, :],
        "asked": np.stack([persona, prompt], axis=1),
        "names": names,
    }
    return Evidence(**rows | changes)
