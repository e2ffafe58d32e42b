"""Vectors from a server that speaks OpenAI's `/v1/embeddings`, such as vLLM, llama.cpp, text-embeddings-inference or OpenAI itself.

    Endpoint(EndpointEmbedder(engine="endpoint", model="Qwen/Qwen3-Embedding-0.6B", url="http://127.0.0.1:8000/v1", key=None))

What the server pads and batches is its own affair, so its bits may differ between two requests; a text is asked once, and the answer kept.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from prefloom.flows.dataset.embeddings import Batches, Half
from prefloom.flows.engines.embedder import gather
from prefloom.schemas.embedder import EndpointEmbedder
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash
from prefloom.schemas.texts import short

if TYPE_CHECKING:
    from openai import OpenAI


class Endpoint:
    """A model behind a server. Where it is served, and with which key, is not part of its identity."""

    def __init__(self, section: EndpointEmbedder) -> None:
        self._section = section
        revision = content_hash([section.revision, section.arguments], size=6)
        self.identity = f"endpoint/{section.model}@{revision}"

    @cached_property
    def client(self) -> "OpenAI":
        """The client; InputError if the recipe names a key that is not in the environment."""
        try:
            from openai import OpenAI
        except ImportError as error:
            raise InputError("embeddings", found=f"no module '{error.name}'", expected="openai: pip install 'prefloom[embed]'") from None
        section = self._section
        if section.url is None:
            raise InputError("recipe", "embeddings.url", found="nothing", expected="the base URL of a server with /v1/embeddings")
        key = os.environ.get(section.key) if section.key else "none"
        if not key:
            raise InputError("embeddings.key", found=f"no environment variable {section.key}", expected="one that holds the API key")
        return OpenAI(api_key=key, base_url=section.url, timeout=section.timeout, max_retries=section.attempts - 1)

    @property
    def dimension(self) -> int:
        """Length of a vector. Asks about one word."""
        return int(self._ask(["text"]).shape[1])

    def encode(self, texts: Sequence[str]) -> Half:
        """(n, dim) vectors in the order of the texts."""
        return gather(self, texts)

    def stream(self, texts: Sequence[str]) -> Batches:
        """(indices of texts, their vectors) as the server answers."""
        size = self._section.batch
        chunks = [range(start, min(start + size, len(texts))) for start in range(0, len(texts), size)]
        with ThreadPoolExecutor(self._section.concurrency) as pool:
            futures = {pool.submit(self._ask, [texts[index] for index in chunk]): chunk for chunk in chunks}
            try:
                for future in as_completed(futures):
                    vectors = future.result()
                    yield futures.pop(future), vectors
            finally:
                pool.shutdown(wait=True, cancel_futures=True)  # after a failure, or when the reader stops: ask no more

    def _ask(self, texts: list[str]) -> Half:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        section, where = self._section, f"{self._section.url}/embeddings"
        try:
            # As numbers: not every server knows base64, which the client would ask for.
            extra: dict[str, Any] = dict(section.arguments)
            reply = self.client.embeddings.create(model=section.model, input=texts, encoding_format="float", extra_body=extra or None)
        except APIStatusError as error:
            longest = max(map(len, texts))
            advice = f"vectors of {len(texts)} texts, the longest of {longest:,} characters"
            raise InputError(where, found=f"status {error.status_code}: {short(self._hidden(str(error)))}", expected=advice) from None
        except APIConnectionError as error:
            raise InputError(where, found=self._hidden(str(error)).lower(), expected=f"a server within {section.attempts} tries") from None
        except (OpenAIError, ValueError, TypeError) as error:
            raise InputError(where, found=short(self._hidden(str(error))), expected="a reply of /v1/embeddings") from None
        return self._vectors(reply, len(texts), where)

    def _vectors(self, reply: Any, count: int, where: str) -> Half:
        try:
            rows = {row.index: row.embedding for row in reply.data}
            vectors = np.array([rows[index] for index in range(count)], dtype=np.float64)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(where, found="a reply that is not one vector per text", expected=f"{count} vectors of one length") from None
        if len(rows) != count or vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise InputError(
                where, found=f"{len(rows)} vectors, or one that is not finite", expected=f"{count} finite vectors of one length"
            )
        with np.errstate(over="ignore"):  # what 16 bits cannot hold is refused where it would be stored
            return vectors.astype(np.float16)

    def _hidden(self, message: str) -> str:
        """A server may repeat the key in what it says."""
        key = os.environ.get(self._section.key) if self._section.key else None
        return message.replace(key, "…") if key else message
