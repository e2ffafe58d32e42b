"""The recipe's `exports`: which views of a dataset are written beside it, each in the shape that one training system reads.

exports: {trl: {persona: true}, fspo: {few_shot: {shots: 8}}, fedbiscuit: {}, neural_process: {users: types}, personalllm: {}}
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from prefloom.schemas.section import Count, Section, Share

Mode = Literal["zero", "losers", "preferred", "losers_described", "preferred_described"]


def _wanted(about: str) -> Any:
    """A field of Exports that, absent, leaves the fingerprint as it was before there was such an export."""
    return Field(default=None, exclude_if=lambda value: value is None, description=f"{about}; null writes none")


class TrlExport(Section):
    """Conversational rows with explicit prompt, for TRL's trainers."""

    persona: bool = Field(default=True, description="Put the persona's description into a system message")


class FewShot(Section):
    """Few-shot examples as text: one for every preference, shots from the same persona and split, about other prompts."""

    shots: int = Field(default=8, ge=0, le=64, description="Preferences of the persona that stand before the question")
    mode: Mode = Field(
        default="losers",
        description="Shots with losers, with preferred answers alone, or none; `described`: the answer opens with who the person is",
    )
    teacher_forced: bool = Field(default=False, description="With `described`: the description stands in the prompt, not in the completion")
    targets: Literal["chosen", "both"] = Field(default="chosen", description="Which answers the table for supervised training shows")
    max_tokens: Count | None = Field(
        default=8192, description="Tokens of prompt and longer completion; shots go until it fits, the question never; null: no limit"
    )
    drop: Literal["first", "longest"] = Field(default="first", description="Which shots go first where there are too many tokens")
    characters_per_token: Annotated[float, Field(gt=0, le=1000)] = Field(default=4.0, description="Characters that make one token")


class FspoExport(Section):
    """FSPO's two layouts, and few-shot examples where they are wanted."""

    few_shot: FewShot | None = Field(default=None, description="Examples as text for both stages of training; null writes none")


class FedBiscuitExport(Section):
    """One file per split over all clients, a folder for each client, and prompts that no client has seen."""

    rlhf: Share = Field(default=0.2, description="Share of the prompts, by hash, that is kept from all clients for the server's training")
    max_characters: Count | None = Field(default=None, description="Longest prompt with both answers; longer ones are left out and counted")


class NeuralProcessExport(Section):
    """A folder of vectors and tables with one column of choices per user."""

    users: Literal["personas", "types", "rewards"] = Field(
        default="personas",
        description="Who a column is: a persona that labelled every row of it, a type of attribute users, or a reward",
    )
    most: int = Field(default=50, ge=2, le=1000, description="Personas in a table, at most")


class PersonalLlmExport(Section):
    """One row per prompt, with all its answers and all their scores."""

    answers: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="Answers in a row; prompts with fewer are left out (default: those of the prompt with most)",
    )


class Exports(Section):
    """Which views of the dataset are written beside it."""

    trl: TrlExport | None = Field(default=TrlExport(), description="For TRL; null writes none")
    fspo: FspoExport | None = _wanted("For FSPO")
    fedbiscuit: FedBiscuitExport | None = _wanted("For FedBis and FedBiscuit")
    neural_process: NeuralProcessExport | None = _wanted("For neural processes of preferences")
    personalllm: PersonalLlmExport | None = _wanted("PersonalLLM's wide table")

    @property
    def wanted(self) -> list[str]:
        """The systems that are exported for, by their key."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]
