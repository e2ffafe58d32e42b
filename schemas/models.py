"""Who answers, as a recipe names it, and who serves it.

models:  {judge: {engine: endpoint, model: Qwen/Qwen3-8B, revision: "2025-07"}}          what decides an answer: part of the fingerprint
servers: {judge: {urls: ["http://127.0.0.1:8000/v1"], concurrency: 256}}                  who gives it: changes no data
"""

from typing import Literal

from pydantic import Field, field_validator

from prefloom.schemas.section import Section

ReadMethod = Literal["logprob_token_ids", "top_logprobs", "votes"]


class SocietySampling(Section):
    """How a member of the society is sampled where it writes."""

    temperature: float | None = Field(default=None, ge=0, le=5, description="In place of the temperature that the stage names")


class SocietyModel(Section):
    """A member of the built-in simulated society: it needs no weights, no GPU and no network."""

    engine: Literal["society"] = Field(description="Who runs it")
    character: str = Field(default="scholar", description="Who answers: an entry of data/society/characters.yaml")
    phi: float = Field(
        default=0.65, description="As a judge: share of its error that all orders and wordings have alike: 0.25, 0.65 or 0.9"
    )
    fill: Literal["stereotype", "persistent", "call"] = Field(
        default="stereotype", description="As a judge: how it guesses tastes that a description leaves open"
    )
    sampling: SocietySampling = Field(
        default=SocietySampling(), exclude_if=lambda own: own == SocietySampling(), description="How it is sampled where it writes"
    )

    @field_validator("phi")
    @classmethod
    def _calibrated(cls, phi: float) -> float:
        if phi not in (0.25, 0.65, 0.9):
            raise ValueError(f"{phi:g}, for which no judge is calibrated; 0.25, 0.65 and 0.9 are")
        return phi


class Sampling(Section):
    """How a model is sampled where it writes, beside the temperature of the stage; null leaves a setting to the server."""

    temperature: float | None = Field(default=None, ge=0, le=5, description="In place of the temperature that the stage names")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Nucleus")
    top_k: int | None = Field(default=None, ge=-1, le=10**6, description="The k likeliest tokens (vLLM)")
    min_p: float | None = Field(default=None, ge=0, le=1, description="Share of the likeliest token's probability (vLLM)")
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description="Against tokens that stand there already")
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, description="The same, by how often they do")
    repetition_penalty: float | None = Field(default=None, gt=0, le=10, description="The same as a factor (vLLM)")


class EndpointModel(Section):
    """A model behind an OpenAI-compatible server: vLLM, a hosted API, anything that speaks chat completions."""

    engine: Literal["endpoint"] = Field(description="Who runs it; `servers` says where")
    model: str = Field(min_length=1, max_length=500, description="Name by which its servers know it")
    revision: str | None = Field(default=None, max_length=200, description="Commit, date or quantisation of the weights, as you know it")
    read: Literal["auto"] | ReadMethod = Field(
        default="auto", description="How a judge's letters are read; auto takes the first that works"
    )
    votes: int = Field(default=15, ge=1, le=128, description="Answers sampled for one reading where log-probabilities cannot be had")
    thinking: bool = Field(default=False, description="Let a model that can think before it answers do so")
    sampling: Sampling = Sampling()


def sampling_of(model: SocietyModel | EndpointModel, temperature: float) -> tuple[float, tuple[tuple[str, float], ...]]:
    """(temperature, other settings) at which a model writes: its own temperature, or that of the stage."""
    own: dict[str, float] = model.sampling.model_dump(exclude_none=True)
    return own.pop("temperature", temperature), tuple(own.items())
