"""What a recipe says about diversity: near-duplicates out, the most different kept. Needs `embeddings`: it goes by vectors.

embeddings: {engine: sentence-transformers}
diversity:
  personas: {near_duplicate: 0.95, count: 200, target: census.csv}      # balanced over traits, then farthest apart
  prompts: {near_duplicate: 0.85, count: 100}                           # balanced over domains, then farthest apart
  candidates: {near_duplicate: 0.97}
pilot: {keep: 4, floor: -1.0, personas: 12}                            # general quality, then pairs that divide people

A threshold means something for one encoder only; the ones below were chosen for the default (docs/diversity.md).
"""

from pydantic import Field

from prefloom.schemas.section import Count, Section


class DiversePersonas(Section):
    """Which of the sources' personas stay."""

    near_duplicate: float = Field(default=0.95, gt=0, le=1, description="Cosine from which a description repeats an earlier one")
    count: Count | None = Field(default=None, description="How many stay, balanced over traits, then farthest apart (default: all)")
    strata: list[str] | None = Field(default=None, description="Traits to balance when some are chosen (default: all that they have)")
    path: str | None = Field(
        default=None,
        description="A .csv, .jsonl or .parquet of trait, value, share: the population aimed at (default: equal shares)",
    )


class DiversePrompts(Section):
    """Which of the sources' prompts stay."""

    near_duplicate: float = Field(default=0.85, gt=0, le=1, description="Cosine from which a prompt repeats an earlier one, in any split")
    count: Count | None = Field(default=None, description="How many stay, balanced over domains, then farthest apart (default: all)")


class DiverseCandidates(Section):
    """Which answers to one prompt are compared."""

    near_duplicate: float = Field(default=0.97, gt=0, le=1, description="Cosine from which an answer repeats another to the same prompt")


class Diversity(Section):
    """Near-duplicates out, and the most different kept; null leaves a table as its sources gave it."""

    personas: DiversePersonas | None = DiversePersonas()
    prompts: DiversePrompts | None = DiversePrompts()
    candidates: DiverseCandidates | None = DiverseCandidates()


class Pilot(Section):
    """What is looked at before everybody is asked: how good answers are in general, and which of them divide people."""

    keep: Count | None = Field(default=None, ge=2, description="Answers of a prompt that are compared: the farthest apart (default: all)")
    floor: float | None = Field(
        default=None,
        ge=-100,
        le=100,
        description="Least general quality of an answer that is compared, in log-odds against the mean of its prompt (default: none)",
    )
    dominated: float | None = Field(
        default=2.0,
        gt=0,
        description="Gap in general quality, in log-odds, that marks a comparison as dominated; null: unasked",
    )
    personas: int = Field(default=12, ge=0, le=10_000, description="People of the training split who read all pairs of a prompt's answers")
    uniform: float = Field(
        default=0.2, ge=0.01, le=1, description="Share of the choice of pairs left to chance; 1: the pilot marks and does not choose"
    )

    @property
    def rates(self) -> bool:
        """Whether answers are compared for people in general."""
        return self.floor is not None or self.dominated is not None
