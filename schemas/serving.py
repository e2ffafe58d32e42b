"""Where a model is served, as a recipe says it. It changes no data.

servers:
  writer: {urls: ["http://gpu1:8000/v1", "http://gpu2:8000/v1"], key: OPENAI_API_KEY, concurrency: 256}      # servers that run
  judge: {vllm: {command: /opt/vllm/bin/vllm, data_parallel: 2, arguments: ["--max-model-len", "8192"]}}     # one that prefloom starts
"""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from prefloom.schemas.section import Count, Section

# What prefloom says itself, and where a recipe says it instead. vLLM takes any unambiguous beginning of an option, and _ for -.
RESERVED: dict[str, str] = {
    "--host": "prefloom's own servers listen on 127.0.0.1 alone",
    "--port": "prefloom finds a free port",
    "--uds": "prefloom finds a free port",
    "--served-model-name": "the server goes by the model's name in the recipe",
    "--api-key": "prefloom's own servers listen on 127.0.0.1 alone and need no key",
    "--ssl-keyfile": "prefloom's own servers listen on 127.0.0.1 alone",
    "--ssl-certfile": "prefloom's own servers listen on 127.0.0.1 alone",
    "--data-parallel-size": "the field `data_parallel`",
    "-dp": "the field `data_parallel`",
    "--tensor-parallel-size": "the field `tensor_parallel`",
    "-tp": "the field `tensor_parallel`",
    "--enable-lora": "the field `adapters`",
    "--lora-modules": "the field `adapters`",
    "--hf-token": "a recipe is kept with the data; set HF_TOKEN in the environment of the build",
}
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$", re.IGNORECASE)


def _allowed(arguments: list[str]) -> list[str]:
    for argument in arguments:
        if "\0" in argument:
            raise ValueError("an argument cannot hold a NUL")
        name = argument.split("=")[0].replace("_", "-")
        for reserved, instead in RESERVED.items():
            if name == reserved or (len(name) > 4 and reserved.startswith(name)):
                raise ValueError(f"`{argument.split('=')[0]}` is not for a recipe: {instead}")
    return arguments


def _no_secrets(environment: dict[str, str]) -> dict[str, str]:
    for name, value in environment.items():
        if "\0" in name + value or "=" in name:
            raise ValueError(f"{name!r} cannot be set as a variable")
        if _SECRET.search(name):
            raise ValueError(f"`{name}` looks like a secret, and a recipe is kept with the data; set it in the environment of the build")
    return environment


def _url(value: str) -> str:
    parts = urlsplit(value)
    try:
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.hostname.encode("idna") and parts.port != 0
    except ValueError:  # of the port, or of a name that no server can have
        fits = False
    if not fits or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address is stored with every run: keys and passwords belong into an environment variable (`key` names it)")
    return value.rstrip("/")


def _variable(name: str) -> str:
    # Not quoted: what stands here by mistake is the key itself.
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
        raise ValueError("no name of an environment variable (capital letters, digits, _); the key itself never stands in a recipe")
    return name


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
    arguments: Annotated[list[str], AfterValidator(_allowed)] = Field(default=[], description="Further arguments of `vllm serve`")
    environment: Annotated[dict[str, str], AfterValidator(_no_secrets)] = Field(
        default={}, description="Environment variables for it; stored with the run, so never secrets"
    )
    start_timeout: float = Field(default=1800, gt=0, le=86_400, description="Seconds until it has to be up")


class Server(Section):
    """Where a model is served and how hard it may be driven."""

    urls: list[Annotated[str, AfterValidator(_url)]] = Field(
        default=[], description="Base URLs (…/v1) of servers that all serve this model"
    )
    vllm: Vllm | None = Field(default=None, description="A server that prefloom starts itself, in place of `urls`")
    key: Annotated[str, AfterValidator(_variable)] | None = Field(default=None, description="Environment variable that holds the API key")
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
        if self.floor > self.concurrency and "floor" in self.model_fields_set:
            raise ValueError(f"floor {self.floor} is above concurrency {self.concurrency}")
        return self
