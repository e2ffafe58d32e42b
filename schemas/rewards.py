"""What scores an answer, as a recipe names it. Personas of source `ensemble` and `attributes` weigh these scores; nobody is asked.

rewards:
  thrift: {engine: scorer, property: thrift}                                       counts words: no weights, no network
  skywork: {engine: transformers, model: Skywork/Skywork-Reward-V2-Qwen3-0.6B}      a sequence classifier in this process
  fsfairx: {engine: endpoint, model: sfairXC/FsfairX-LLaMA3-RM-v0.1, url: "http://127.0.0.1:8001"}      vLLM's /classify
  gemma_2b: {engine: file, path: answers.parquet, fields: {score: "response_{i}_gemma_2b", text: "response_{i}", prompt: prompt, wide: 8}}

`sign: -1` turns a cost into a reward. Scores are standardised on the answers to train prompts before anybody weighs them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prefloom.schemas.section import Count, Section

# Keys that say where and how fast, not what.
REWARD_SERVING = ("device", "url", "key", "concurrency", "timeout", "attempts")


class ScorerReward(Section):
    """One of the twenty text properties that prefloom measures itself (flows/engines/scorers)."""

    engine: Literal["scorer"] = Field(description="Who scores")
    property: str = Field(description="Which property, such as thrift, warmth or length")
    set: Literal["reading", "held_out"] = Field(
        default="reading",
        description="By whose measure; the one that planted tastes are made of is not on offer, since it would carry the truth into a run",
    )
    sign: Literal[-1, 1] = Field(default=1, description="-1 if less is better")


class TransformersReward(Section):
    """A sequence classifier with one output, in this process, by transformers. Safetensors only, no code that comes with a model."""

    engine: Literal["transformers"] = Field(description="Who scores")
    model: str = Field(min_length=1, description="Name on the Hugging Face Hub, or a folder")
    revision: str | None = Field(default=None, description="Commit of a model from the Hub; then its weights are not needed for `plan`")
    template: Literal["chat", "plain"] = Field(
        default="chat", description="chat: the tokenizer's chat template; plain: prompt and answer as a pair of texts"
    )
    max_tokens: int = Field(default=4096, ge=8, le=131_072, description="Longest input; of a longer one the end is kept")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="In which numbers it computes")
    sign: Literal[-1, 1] = Field(default=1, description="-1 for a model of costs")
    device: str | None = Field(default=None, description="cpu, cuda:0, …; null: an accelerator if there is one")


class EndpointReward(Section):
    """A classifier behind vLLM's `/classify`, asked for its raw output, before the activation."""

    engine: Literal["endpoint"] = Field(description="Who scores")
    model: str = Field(min_length=1, description="Name by which the server knows the model")
    revision: str | None = Field(default=None, description="Your note of what the server serves; another revision is another model")
    template: Literal["chat", "plain"] = Field(
        default="chat", description="chat: the server applies the model's chat template; plain: prompt, a blank line, answer"
    )
    max_tokens: int | None = Field(default=None, ge=8, description="Of a longer input the end is kept (default: the server refuses it)")
    sign: Literal[-1, 1] = Field(default=1, description="-1 for a model of costs")
    url: str | None = Field(default=None, pattern=r"^https?://", description="Where the server is, without a path; required to score")
    key: str | None = Field(default=None, description="Environment variable that holds the API key; null: the server wants none")
    concurrency: int = Field(default=32, ge=1, le=1024, description="Requests in flight")
    timeout: float = Field(default=600, gt=0, description="Seconds for one request")
    attempts: int = Field(default=5, ge=1, le=20, description="Tries of a request whose failure may heal")


class ScoreFields(Section):
    """Which columns of the file mean what. With `wide` a row has several answers, and `{i}` in a column's name counts them from 1."""

    score: str = Field(default="score", description="Column of the score")
    text: str = Field(default="text", description="Column of the answer")
    model: str | None = Field(default=None, description="Column of who wrote it; needed where two models gave the same answer")
    prompt_id: str | None = Field(default=None, description="Column of the prompt's id, as in `prompts.fields.id`")
    prompt: str | None = Field(default=None, description="Column of the prompt's whole text")
    wide: Count | None = Field(default=None, description="How many answers stand in one row (default: one)")

    @model_validator(mode="after")
    def _one_link(self) -> Self:
        if (self.prompt_id is None) == (self.prompt is None):
            raise ValueError("name exactly one of prompt_id and prompt, the column that links an answer to its prompt")
        return self


class FileReward(Section):
    """Scores that exist already, from a .jsonl, .csv or .parquet file."""

    engine: Literal["file"] = Field(description="Who scores")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    fields: ScoreFields
    sign: Literal[-1, 1] = Field(default=1, description="-1 for a model of costs")


Reward = Annotated[ScorerReward | TransformersReward | EndpointReward | FileReward, Field(discriminator="engine")]
