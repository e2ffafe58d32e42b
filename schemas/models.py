"""Who answers, as a recipe names it, and who serves it.

models:  {judge: {engine: endpoint, model: Qwen/Qwen3-8B, revision: "2025-07"}}          what decides an answer: part of the fingerprint
servers: {judge: {urls: ["http://127.0.0.1:8000/v1"], concurrency: 256}}                  who gives it: changes no data
"""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from prefloom.schemas.section import Count, Section

ReadMethod = Literal["logprob_token_ids", "top_logprobs", "votes"]


class SocietyModel(Section):
    """A member of the built-in simulated society: it needs no weights, no GPU and no network."""

    engine: Literal["society"] = Field(description="Who runs it")
    character: str = Field(default="scholar", description="Who answers: an entry of data/society/characters.yaml")


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


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is no http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address is stored with every run: keys and passwords belong into an environment variable (`key` names it)")
    return value.rstrip("/")


class Adapter(Section):
    """A LoRA adapter that a server loads beside its weights."""

    name: str = Field(min_length=1, description="Name by which a model asks for it (`models.….model`)")
    path: str = Field(min_length=1, description="Its folder, relative to the recipe")


class Vllm(Section):
    """A vLLM server that prefloom starts when it has something to ask, and stops when the stage is done."""

    command: str | None = Field(default=None, description="The `vllm` of its own environment (default: $PREFLOOM_VLLM, else `vllm`)")
    path: str | None = Field(
        default=None, description="Folder of the weights, relative to the recipe (default: `model`, from the Hub's cache)"
    )
    data_parallel: int = Field(default=1, ge=1, le=1024, description="Replicas behind one port")
    tensor_parallel: int = Field(default=1, ge=1, le=1024, description="GPUs that share one replica")
    adapters: list[Adapter] = Field(default=[], description="LoRA adapters to load")
    arguments: list[str] = Field(default=[], description="Further arguments of `vllm serve`")
    environment: dict[str, str] = Field(default={}, description="Variables set for it; stored with the run, so no secrets")
    start_timeout: float = Field(default=1800, gt=0, le=86_400, description="Seconds until it has to be up")


class Server(Section):
    """Where a model is served and how hard it may be driven."""

    urls: list[Annotated[str, AfterValidator(_url)]] = Field(
        default=[], description="Base URLs (…/v1) of servers that all serve this model"
    )
    vllm: Vllm | None = Field(default=None, description="A server that prefloom starts itself, in place of `urls`")
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$", description="Environment variable that holds the API key")
    concurrency: int = Field(default=256, ge=1, le=65_536, description="Requests in flight at each server, at most")
    floor: int = Field(default=4, ge=1, le=65_536, description="Requests in flight at each server, at least, however slow it is")
    requests_per_minute: Count | None = Field(default=None, description="Cap for each server")
    tokens_per_minute: Count | None = Field(default=None, description="Cap for each server, prompt and completion together")
    timeout: float = Field(default=600, gt=0, le=86_400, description="Seconds for one request, not counting the wait for its turn")
    attempts: int = Field(default=5, ge=1, le=100, description="Times a request is tried that fails in a way that may heal")
    patience: float = Field(default=600, ge=0, le=604_800, description="Seconds to wait for servers that are down or say 429")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.urls) == (self.vllm is not None):
            raise ValueError("name exactly one of urls (servers that run) and vllm (a server to start)")
        if self.floor > self.concurrency:
            raise ValueError(f"floor {self.floor} is above concurrency {self.concurrency}")
        return self
