"""What was found out about a model's servers before anything was asked: who they are and how a judge's letters are read.

{"model": "Qwen/Qwen3-8B", "revision": "2025-07", "template": "5f0c…", "server": "vllm", "version": "0.32.0", "max_model_len": 32768,
 "read": "logprob_token_ids", "token_ids": {"A": 32, "B": 33}, "mass": 0.9991, "switch": "chat_template_kwargs", "metered": true, …}

It stands in the run folder (models/<name>.json) and in the manifest. Unknown stays null: most servers tell less than vLLM.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefloom.schemas.models import ReadMethod

_LOW = 0.5  # probability of the letters below which a judge is hardly one


class Probe(BaseModel):
    """One model, as its servers showed it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Name by which the servers know it")
    revision: str | None = Field(
        default=None, description="Of the weights: as the recipe states, or by their files where prefloom serves them"
    )
    template: str | None = Field(
        default=None, description="Hash of the tokens that a fixed conversation becomes: chat template and tokenizer"
    )
    server: str | None = Field(default=None, description="Kind of server, where it says so")
    version: str | None = Field(default=None, description="Its version")
    max_model_len: int | None = Field(default=None, description="Longest conversation in tokens")
    answers_as: str | None = Field(default=None, description="Name of the model that replies carry")
    limit: str = Field(default="max_tokens", description="Field in which the server takes the longest answer")
    switch: Literal["chat_template_kwargs", "reasoning_effort"] | None = Field(
        default=None, description="Field by which thinking is switched, on every call; null if there is nothing to switch"
    )
    many: bool = Field(default=False, description="The server gives several answers to one call (`n`)")
    metered: bool = Field(default=False, description="Replies say how many tokens they took")
    read: ReadMethod | None = Field(default=None, description="How letters are read; null if the model is no judge")
    token_ids: dict[str, int] | None = Field(default=None, description="Letter -> its token, where the server told")
    mass: float | None = Field(default=None, description="Probability of the letters together where the probe asked for one of them")
    constrained: bool | None = Field(default=None, description="Whether an answer that had to follow a JSON schema did")

    def describe(self) -> str:
        """`vllm 0.32.0, letters by logprob_token_ids, mass 0.9991`."""
        said = [" ".join(part for part in (self.server, self.version) if part) or "a server that does not say what it is"]
        if self.read:
            said.append(f"letters by {self.read}")
        if self.mass is not None:
            said.append(f"mass {self.mass:.4f}" + (": it would rather say something else" if self.mass < _LOW else ""))
        return ", ".join(said)
